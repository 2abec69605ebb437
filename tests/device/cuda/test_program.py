"""Recorded calls survive the pipe, and launches by hand take only arguments that ctypes can pass."""

import pytest

from kopt.device.cuda.recording.launch import is_plain
from kopt.device.cuda.recording.program import (
    Allocate,
    Descriptor,
    HostTensor,
    KernelLaunch,
    Many,
    Named,
    Operation,
    RecordedCall,
    Scalar,
    View,
)

VIEW = View(storage=0, offset=3, shape=(2, 4), stride=(4, 1), dtype="bfloat16")
PROGRAM = RecordedCall(
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
    outputs=(VIEW,),
)  # fmt: skip


def test_a_program_survives_the_pipe():
    assert RecordedCall.model_validate_json(PROGRAM.model_dump_json()) == PROGRAM
    assert PROGRAM.binaries == {"ab"}


def test_numbers_and_truth_values_stay_what_they_are():
    read = RecordedCall.model_validate_json(PROGRAM.model_dump_json()).steps[2].arguments[2]
    assert [type(item.value) for item in read.items] == [int, bool, float]


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
