"""The autotuners of a kernel that leaves kopt hold the configurations that won on the GPU."""

import os
import subprocess
import sys

import pytest

from kopt.device.screen.rules import screen
from kopt.model.build import Built, Launch, WorkloadBuild
from kopt.model.kernel import Kernel
from kopt.model.timing import Launched
from kopt.winner.source import module_text
from kopt.winner.standalone import standalone
from kopt.winner.tuning import NAMES, Choice, choices, with_choice_in_interpreter, with_choices
from tests.winner.test_winner import executed, winner

SOURCE = """
import torch
import triton
import triton.language as tl


@triton.autotune(
    configs=[triton.Config({"BLOCK": block}, num_warps=4) for block in (128, 256, 512)],
    key=["columns"],
)
@triton.heuristics({"EVEN": lambda arguments: arguments["columns"] % arguments["BLOCK"] == 0})
@triton.jit
def scale_kernel(x_ptr, y_ptr, columns, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets, mask=offsets < columns), mask=offsets < columns)


def kernel_function(x, weight, factor):
    y = torch.empty_like(x)
    scale_kernel[(x.shape[0],)](x, y, x.shape[1])
    return y
"""
WIDE, NARROW = ("512", "'torch.bfloat16'", "'torch.bfloat16'"), ("64", "'torch.bfloat16'", "'torch.bfloat16'")


def in_one_line(text):
    return " ".join(text.replace("\n#", "\n").split())


def trial(configuration, cubin, key=WIDE, call=0, grid=(4, 1, 1)):
    return Launch(
        kernel="scale_kernel", grid=grid, num_warps=4, num_stages=3, num_ctas=1, shared_bytes=0, registers=32, spills=0,
        signature=(), call=call, trial=True, configuration=configuration, tuned_for=key, cubin=cubin,
    )  # fmt: skip


BUILT = Built(
    fingerprint="f",
    workloads=(
        WorkloadBuild(workload="wide", launches=(trial(0, "a"), trial(1, "b"), trial(2, "c")), host_ops=()),
        WorkloadBuild(
            workload="narrow", launches=(trial(0, "a", NARROW), trial(1, "b", NARROW, grid=(8, 1, 1))), host_ops=()
        ),
    ),
)
CHOICES = (
    Choice("scale_kernel", (512, "torch.bfloat16", "torch.bfloat16"), 2),
    Choice("scale_kernel", (64, "torch.bfloat16", "torch.bfloat16"), 1),
)


def test_the_choice_is_the_configuration_whose_machine_code_ran_on_the_gpu():
    launched = {"wide": [Launched("c", (4, 1, 1))], "narrow": [Launched("b", (8, 1, 1)), Launched("a", (9, 1, 1))]}
    assert choices(BUILT, launched) == CHOICES


@pytest.mark.parametrize("launched", [{}, {"wide": [Launched("d", (4, 1, 1))]}, {"wide": [Launched("c", (5, 1, 1))]}])
def test_what_did_not_run_is_no_choice(launched):
    assert choices(BUILT, launched) == ()
    assert choices(None, launched) == ()


def test_a_key_of_other_objects_is_no_choice():
    strange = Built(
        fingerprint="f",
        workloads=(WorkloadBuild(workload="wide", launches=(trial(0, "a", ("<object>",)),), host_ops=()),),
    )
    assert choices(strange, {"wide": [Launched("a", (4, 1, 1))]}) == ()


def test_the_written_module_gives_its_autotuner_the_choices(tmp_path):
    tuned = winner(SOURCE, choices=CHOICES)
    text = standalone(tuned)
    assert "for which it has the one that won" in in_one_line(text)
    tuner = executed(text, tmp_path).scale_kernel
    assert {key: config.kwargs["BLOCK"] for key, config in tuner.cache.items()} == {
        choice.key: (128, 256, 512)[choice.configuration] for choice in CHOICES
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@triton.autotune(", "TUNED = 1\n@triton.autotune("),
        ("def scale_kernel(", "def other_kernel("),
        ("\n\n\n@triton.autotune(\n", "\n\n\n@dict(k=triton.autotune)['k'](\n"),
    ],
)
def test_an_autotuner_that_has_no_name_in_the_module_keeps_trying(old, new):
    text = module_text(SOURCE.replace(old, new))
    assert with_choices(text, CHOICES) == text
    assert not with_choices(text, CHOICES).names >= NAMES
    assert "for which it has" not in in_one_line(standalone(winner(SOURCE.replace(old, new), choices=CHOICES)))


USE = """
import torch
import exported

x = torch.randn(3, 1000)
out = torch.empty_like(x)
exported.scale_kernel[(1,)](x[0], out[0], 100)
print(torch.equal(out[0, :100], x[0, :100]))
"""


@pytest.mark.parametrize("chosen", [(), CHOICES])
def test_an_autotuner_of_a_written_module_works_in_tritons_interpreter(tmp_path, chosen):
    (tmp_path / "exported.py").write_text(standalone(winner(SOURCE, choices=chosen)))
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_what_is_written_for_the_interpreter_is_written_once_and_may_be_judged():
    text = with_choice_in_interpreter(module_text(SOURCE))
    assert screen(Kernel(source=text.body)) is None
    assert with_choice_in_interpreter(module_text(text.body)).body == text.body
    plain = module_text(SOURCE.replace("@triton.autotune(", "@dict("))
    assert with_choice_in_interpreter(plain) == plain
