import sys
from pathlib import Path

import pytest

from kopt.device.build.fingerprint import fingerprint, toolchain
from kopt.model.build import HostOp, Launch, WorkloadBuild
from tests.device.small import H100, SCALE, SOURCE

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TOOLS = toolchain(H100)

LAUNCH = Launch(
    kernel="k", grid=(8, 1, 1), num_warps=4, num_stages=3, num_ctas=1, shared_bytes=0, registers=20, spills=0,
    signature=(("x", "*bf16"), ("y", "*bf16"), ("n", "i32"), ("BLOCK", "constexpr")),
    constants=(("BLOCK", "128"),),
    specialisation=(("x", "D"), ("y", "D"), ("n", "D")),
    arguments=(("x", "bfloat16[1024]"), ("y", "bfloat16[1024]"), ("n", "1024")),
    pointers=(("x", "input 0"), ("y", "allocation 0")),
    options=(("num_ctas", "1"),),
    ptx="1" * 64, cubin="2" * 64, normal_ptx="3" * 64,
)  # fmt: skip
FILL = HostOp(name="aten.zero_.default", shapes=((4,),), kind="fill", pointers=("input 0",))
VIEW = HostOp(name="aten.view.default", shapes=((4,),), kind="view")


def of(*launches: Launch, ops: tuple[HostOp, ...] = (), output: str = "allocation 0") -> str:
    return fingerprint([WorkloadBuild(workload="w", launches=launches, host_ops=ops, output=output)], TOOLS)


def other(**changes: object) -> Launch:
    return LAUNCH.model_copy(update=changes)


def renamed(pairs):
    return tuple((f"z_{name}", value) for name, value in pairs)


def test_names_and_compiled_in_constants_do_not_count():
    fields = ("signature", "constants", "specialisation", "arguments", "pointers")
    assert of(other(kernel="other", **{field: renamed(getattr(LAUNCH, field)) for field in fields})) == of(LAUNCH)
    assert of(other(constants=(("BLOCK", "256"),))) == of(LAUNCH)


def test_what_follows_from_the_ptx_does_not_count():
    assert of(other(ptx="4" * 64, cubin="5" * 64, registers=30, spills=8, num_stages=1)) == of(LAUNCH)


@pytest.mark.parametrize(
    "change",
    [
        {"grid": (4, 2, 1)},
        {"normal_ptx": "4" * 64},
        {"options": (("num_ctas", "2"),)},
        {"shared_bytes": 1024},
        {"specialisation": (("x", "D"), ("y", ""), ("n", "D"))},
        {"arguments": (("x", "bfloat16[1024]"), ("y", "bfloat16[1024]"), ("n", "512"))},
        {"pointers": (("x", "allocation 0"), ("y", "input 0"))},
        {"trial": True},
    ],
)
def test_what_a_launch_does_counts(change):
    assert of(other(**change)) != of(LAUNCH)


def test_the_number_and_order_of_launches_count():
    second = other(grid=(1, 1, 1), call=1)
    assert (
        len({of(LAUNCH), of(LAUNCH, second), of(other(grid=(1, 1, 1)), other(call=1)), of(LAUNCH, other(call=1))}) == 4
    )


def test_trials_of_one_call_are_a_set():
    first, second = other(trial=True), other(trial=True, num_warps=8, normal_ptx="5" * 64)
    assert of(first, second) == of(second, first) == of(first, second, first)


def test_fills_and_copies_and_their_place_count():
    variants = {of(LAUNCH), of(LAUNCH, ops=(FILL,)), of(LAUNCH, ops=(FILL.model_copy(update={"before": 1}),))}
    variants.add(of(LAUNCH, ops=(FILL.model_copy(update={"scalars": ("1.0",)}),)))
    assert len(variants) == 4


def test_views_do_not_count():
    assert of(LAUNCH, ops=(VIEW,)) == of(LAUNCH)


def test_what_is_returned_counts():
    assert of(LAUNCH, output="input 0") != of(LAUNCH)


def test_the_benchmark_finds_no_fault_in_a_kernel(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import fingerprint as benchmark

    rates = benchmark.measure([benchmark.Subject("scale", SCALE, SOURCE)], H100, workers=2)
    assert rates.faults == ()
    assert (rates.merged, rates.apart) == (rates.cosmetic, rates.semantic)
    assert min(rates.cosmetic, rates.semantic) >= 12
