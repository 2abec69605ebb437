import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.bench import _Slots
from kopt.device.launcher import is_plain
from kopt.device.program import (
    Allocate,
    Descriptor,
    HostTensor,
    KernelLaunch,
    Many,
    Named,
    Operation,
    Program,
    Scalar,
    View,
)

VIEW = View(storage=0, offset=3, shape=(2, 4), stride=(4, 1), dtype="bfloat16")
PROGRAM = Program(
    workload="main",
    arguments=2,
    steps=(
        Allocate(storage=2, bytes=64),
        Operation(name="aten::fill_.Scalar", arguments=(VIEW, Scalar(value=0)), named=(("x", Named(name="cuda")),)),
        KernelLaunch(
            binary="ab", name="k", grid=(1, 2, 3), signature=("*bf16", "constexpr", ["i32", "*fp32"]),
            arguments=(
                VIEW, Scalar(value=None), Many(items=(Scalar(value=1), Scalar(value=True), Scalar(value=1.5))),
                Descriptor(base=VIEW, shape=(2,), strides=(1,), block_shape=(2,), options=(("padding", "zero"),)),
                HostTensor(dtype="float32", shape=(1,), data="00000000"),
            ),
            metadata={"num_warps": 4, "shared": 0, "tensordesc_meta": [{"swizzle": 3}]},
        ),
    ),
    output=VIEW,
)  # fmt: skip


def test_a_program_survives_the_pipe():
    assert Program.model_validate_json(PROGRAM.model_dump_json()) == PROGRAM
    assert PROGRAM.binaries == {"ab"}


def test_numbers_and_truth_values_stay_what_they_are():
    read = Program.model_validate_json(PROGRAM.model_dump_json()).steps[2].arguments[2]
    assert [type(one.value) for one in read.items] == [int, bool, float]


@pytest.mark.parametrize(
    ("signature", "plain"),
    [
        (("*bf16", "i32", "constexpr", "fp32"), True),
        (("*bf16", "tensordesc<bf16[64, 64]>"), False),
        (("*bf16", ("i32", "i32")), False),
        (("nvTmaDesc",), False),
        (("fp16",), False),
    ],
)
def test_only_pointers_and_numbers_are_launched_without_triton(signature, plain):
    assert is_plain(signature) is plain


@given(st.integers(1, 30), st.integers(1, 8), st.randoms(use_true_random=False))
def test_a_child_finds_the_slot_that_its_parent_finds_and_no_two_share_one(total, workers, rng):
    """The order of starts and ends is the one of `run_forked`; each child looks at its own copy at its start."""
    parent = _Slots(total, workers)
    running: dict[int, int] = {}
    waiting = list(range(total))
    while waiting or running:
        while waiting and len(running) < workers:
            index = waiting.pop(0)
            child = _Slots(parent.total, parent.workers, parent._next, dict(parent._held))
            running[index] = child.of(index)
        assert len(set(running.values())) == len(running) <= workers
        for index in rng.sample(sorted(running), rng.randint(1, len(running))):
            assert parent.of(index) == running.pop(index)
            parent.release(index)
