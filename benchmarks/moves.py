"""Estimate how much faster moves over rows and between launches make a kernel.

    python benchmarks/moves.py [--only NAME ...] [--judge] [--write FOLDER]

Applies moves of kopt-rewrite to the kernels of `benchmarks/moves` and of two shipped problems, builds both kernels for
an H100 and prints their estimated times.  `--judge` runs the changed kernels in kopt's interpreter on small sizes.
`--write` keeps each problem as a folder with the kernel before and after, to be timed on a GPU
(`kopt evaluate AFTER --problem FOLDER`).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from kopt.backends.triton_builder import build_with_triton
from kopt.device.facts.facts import problem_facts
from kopt.device.interpret.contestant import VerifyJob
from kopt.device.interpret.judge import verify_all
from kopt.estimate.kernel_time import estimate
from kopt.load_config import load_device
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from kopt.model.verdict import Passed
from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.store import Store

ROOT = Path(__file__).resolve().parent.parent
KERNELS = Path(__file__).with_name("moves")
REFERENCE = """\
import torch
from torch import nn

{sizes}


class Model(nn.Module):
    def forward(self, {names}):
{body}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""


@dataclass(frozen=True)
class Case:
    """A kernel with the moves that are applied to it, one after another, each with the seed of its draws."""

    name: str
    kernel: str
    moves: tuple[tuple[str, int], ...]
    names: str
    inputs: str
    body: str
    sizes: dict[str, int]
    small: dict[str, int]
    dtype: Dtype = Dtype.BFLOAT16
    launch: str = ""
    """Tile and warps with which a shipped problem's kernel is launched on these sizes; empty: a kernel of `moves`."""

    @property
    def source(self) -> str:
        """Source of the kernel."""
        if not self.launch:
            return (KERNELS / f"{self.kernel}.py").read_text()
        shipped = (ROOT / "config/problems" / self.kernel / "kernel.py").read_text()
        assert SHIPPED_LAUNCH in shipped, "the shipped kernel is launched otherwise"
        return shipped.replace(SHIPPED_LAUNCH, self.launch)


SHIPPED_LAUNCH = "BLOCK=1024, num_warps=4"
ROW = "torch.randn(R, C)"
QUANTISE = """\
h = (x + bias + residual).float()
h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.float()
scale = h.abs().amax(-1, keepdim=True) / 127.0
return torch.clamp(torch.round(h / scale), -128, 127).to(torch.int8), scale"""
ADD_NORM = """\
h = x + r
return (h.float() * torch.rsqrt(h.float().pow(2).mean(-1, keepdim=True) + 1e-5) * w.float()).to(x.dtype)"""
SOFTMAX = "return torch.softmax(x, -1)"
LAYERNORM = "return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)"
LONG, SHORT = {"R": 512, "C": 131072}, {"R": 3, "C": 9000}
CASES = (
    Case("kept_values", "quantise", (("whole_row", 0), ("kept_values", 0)), "x, bias, residual, weight",
         f"{ROW}, torch.randn(C), {ROW}, torch.randn(C)", QUANTISE, {"R": 8192, "C": 4096}, {"R": 3, "C": 1160}),
    Case("fused_launches", "add_norm", (("fused_launches", 0),), "x, r, w", f"{ROW}, {ROW}, torch.randn(C)", ADD_NORM,
         {"R": 4096, "C": 8192}, {"R": 3, "C": 1160}),
    Case("online_by_row", "softmax", (("online_softmax", 1),), "x", ROW, SOFTMAX, LONG, SHORT, Dtype.FLOAT32,
         "BLOCK=4096, num_warps=8"),
    Case("online_by_element", "softmax", (("online_softmax", 2),), "x", ROW, SOFTMAX, LONG, SHORT, Dtype.FLOAT32,
         "BLOCK=4096, num_warps=8"),
    Case("one_pass_variance", "layernorm", (("one_pass_variance", 0),), "x, weight, bias",
         f"{ROW}, torch.randn(C), torch.randn(C)", LAYERNORM, LONG, SHORT,
         launch="BLOCK=4096, num_warps=16"),
    Case("stream_k", "product", (("stream_k", 0),), "A, B", "torch.randn(M, K), torch.randn(K, N)",
         "return A @ B", {"M": 1152, "N": 2176, "K": 4096}, {"M": 200, "N": 140, "K": 264}),
    Case("fast_exponential", "softmax_inductor", (("fast_exponential", 0),), "x", ROW, SOFTMAX, LONG, SHORT),
)  # fmt: skip


def problem_of(case: Case) -> Problem:
    """Make the problem of a case."""
    body = "\n".join(f"        {line}" for line in case.body.splitlines())
    sizes = "\n".join(f"{key} = {value}" for key, value in case.sizes.items())
    return Problem(
        name=case.name, seed=Kernel(source=case.source), dtype=case.dtype,
        reference=REFERENCE.format(sizes=sizes, names=case.names, body=body, inputs=case.inputs),
        main=(Workload(name="main"),), small=(Workload(name="ragged", constants=case.small),),
    )  # fmt: skip


def moved(case: Case, problem: Problem, device: Device) -> str:
    """Return the kernel after the moves."""
    source, facts = problem.seed.source, problem_facts(problem)
    for name, seed in case.moves:
        module = parse(source)
        assert module is not None
        sites = TRANSFORMATIONS[name].sites(module, RewriteFacts(device=device, workloads=facts.workloads))
        change = sites[0].apply(Random(seed)) if sites else None
        if change is None:
            raise SystemExit(f"{case.name}: {name} does not apply")
        source = change.source
    return source


def times(problem: Problem, sources: list[str], device: Device, store: Store) -> list[float]:
    """Estimate kernels on the main workload, milliseconds."""
    build = build_with_triton(problem, device, store, workers=2, seconds=300)
    with environment_set(NO_GPU):
        built = build([Kernel(source=source) for source in sources])
    facts, found = problem_facts(problem), []
    for index in range(len(sources)):
        one = built[index]
        if not isinstance(one, Built):
            raise SystemExit(f"{problem.name}: {one.reason}")
        found.append(estimate(one, facts, device, lambda name: store.text("ptx", name, ".ptx")).workloads[0].ms)
    return found


def write(folder: Path, case: Case, problem: Problem, after: str) -> None:
    """Keep a case as a problem's folder, with the kernel after the moves beside the seed kernel."""
    place = folder / case.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "problem.py").write_text(problem.reference)
    (place / "problem.yaml").write_text(f"dtype: {case.dtype.value}\n")
    (place / "kernel.py").write_text(problem.seed.source)
    (place / "after.py").write_text(after)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="these cases alone")
    parser.add_argument("--judge", action="store_true", help="run the changed kernels in the interpreter too")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep problems and kernels there")
    arguments = parser.parse_args()
    device = load_device("h100", ROOT)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if arguments.only and case.name not in arguments.only:
                continue
            problem = problem_of(case)
            after = moved(case, problem, device)
            first, last = times(problem, [problem.seed.source, after], device, Store(Path(folder)))
            line = f"{case.name:<20} {first:.4f} ms -> {last:.4f} ms, {first / last:.2f}x, estimated"
            if arguments.judge:
                job = VerifyJob(kernel=Kernel(source=after), problem=problem, seed=1)
                ((_, verdict),) = verify_all([job], workers=1)
                line += f"; {verdict.verdict}" if isinstance(verdict, Passed) else f"; {verdict.reason}"
            print(line, flush=True)
            if arguments.write:
                write(arguments.write, case, problem, after)


if __name__ == "__main__":
    main()
