"""What a kernel changed against its parent, by build and source."""

from kopt.view.changes import changed_facts, changes_in_short
from kopt.view.kernel import KernelView, LaunchView


def launch(kernel="softmax", warps=4, workload="m", constants=None, registers=32):
    return LaunchView(
        workload=workload, kernel=kernel, grid=(8, 1, 1), warps=warps, stages=3, ctas=1, registers=registers,
        shared_bytes=0, spill_bytes=0, occupancy=0.5, trial=False, constants=constants or {"BLOCK": "1024"},
    )  # fmt: skip


def view(source, *launches, fingerprint=""):
    return KernelView(
        label="k", name="k", source=source, facts=None, verdict="passed", launches=launches, fingerprint=fingerprint
    )


def test_settings_and_lines_are_told_and_what_the_compiler_decides_is_not():
    parent, child = view("a\nb\n", launch()), view("a\nc\nd\n", launch(warps=16, registers=90))
    assert changes_in_short(child, parent) == ("warps 4 → 16", "2 of 3 lines new, 1 gone")
    assert {fact.name for fact in changed_facts(child, parent)} == {"warps", "registers"}


def test_a_setting_that_changes_alike_on_every_workload_is_told_once():
    parent = view("a\n", launch(), launch(workload="n"))
    child = view("b\n", launch(warps=8), launch(workload="n", warps=8))
    assert changes_in_short(child, parent)[0] == "warps 4 → 8"
    assert len(changes_in_short(child, parent)) == 2


def test_a_renamed_kernel_is_compared_with_the_one_in_whose_place_it_stands():
    child = view("b\n", launch("one_pass", constants={"COLUMNS": "8192"}))
    assert changes_in_short(child, view("a\n", launch())) == (
        "kernel softmax → one_pass", "BLOCK = 1024 gone", "COLUMNS = 8192 new", "1 of 1 lines new, 1 gone",
    )  # fmt: skip


def test_a_launch_that_only_one_kernel_makes_is_told():
    parent, child = view("a\n", launch()), view("b\n", launch(), launch("reduce", warps=2))
    assert changes_in_short(child, parent)[0] == "reduce: launch none → reduce, 2 warps"
    assert changes_in_short(parent, child)[0] == "reduce: launch reduce, 2 warps → none"


def test_sources_that_compile_alike_or_are_equal_are_told_so():
    parent = view("a\n", launch(), fingerprint="f")
    assert changes_in_short(view("a\n# 2\n", launch(), fingerprint="f"), parent) == (
        "1 of 2 lines new, 0 gone; it compiles to the parent's code",
    )
    assert changes_in_short(view("a\n", launch()), parent) == ("the source is the parent's",)
    assert changes_in_short(view(""), parent) == ()
