"""Bring operators to kopt as a newcomer does, from `kopt new` to an exported kernel in use, and print a table.

    python benchmarks/operators.py                                # all; without a GPU half an hour on two cores
    python benchmarks/operators.py --only top_k rope --again      # those two, from the start
    python benchmarks/operators.py --judge cuda --jobs 4 --seconds 500 --json gpu.json  # on a machine with a GPU

Every step is a command in a process of its own, in a folder outside the checkout.  The step `use` takes the exported
file into a process that cannot import kopt (`benchmarks/operators_use.py`) and compares it with the reference; on a GPU
the step `itself` lets the run's `best_kernel.py` check and time itself.  What an operator has come to is kept in the
folder, step by step, so the benchmark may be stopped at any time.  Operators that run side by side share the cores;
a GPU is leased, so that nothing else runs on it while something is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = "benchmarks/operators"
USE = "benchmarks/operators_use.py"

STEPS = ("new", "check", "run", "export", "use")
"""Steps of an operator, in order; each needs those before it."""

ON_GPU = (*STEPS, "itself")
"""Steps of an operator on a machine with a GPU."""

ALONE = ("use", "itself")
"""Steps that use a GPU without leasing it themselves."""

SEEDS = Path("results/store/made_seed")
"""Where a run in a folder keeps the seeds that were made for it."""


@dataclass(frozen=True)
class Operator:
    """An operator and the words with which a newcomer brings it."""

    name: str
    source: str
    """A file of `benchmarks/operators`, and `:function` where the file is not of KernelBench's form."""
    inputs: tuple[str, ...] = ()
    """Example inputs of a function."""
    words: tuple[str, ...] = ()
    """Further words of `kopt new`."""
    form: str = "module"
    """Form in which the kernel is exported."""


OPERATORS = (
    Operator("cross_entropy", "cross_entropy.py", form="torch-library"),
    Operator(
        "int8_matmul", "int8_matmul.py:w8_linear",
        ("torch.randn(512, 4096, dtype=torch.bfloat16)", "torch.randint(-128, 128, (4096, 4096), dtype=torch.int8)",
         "torch.rand(4096, dtype=torch.bfloat16) * 0.01"),
        form="torch-library",
    ),
    Operator(
        "int4_matmul", "int4_matmul.py:w4_linear",
        ("torch.randn(64, 4096, dtype=torch.float16)", "torch.randint(0, 256, (4096, 2048), dtype=torch.uint8)",
         "torch.rand(4096, 32, dtype=torch.float16) * 0.01"),
        form="torch-library",
    ),
    Operator(
        "rope", "rope.py:apply_rotary_pos_emb",
        ("torch.randn(2, 32, 2048, 128, dtype=torch.bfloat16)", "torch.randn(2, 8, 2048, 128, dtype=torch.bfloat16)",
         "torch.rand(2, 2048, 128, dtype=torch.bfloat16)", "torch.rand(2, 2048, 128, dtype=torch.bfloat16)"),
    ),
    Operator("add_rmsnorm", "add_rmsnorm.py"),
    Operator("causal_attention", "causal_attention.py", form="torch-library"),
    Operator(
        "embedding_backward", "embedding_backward.py:embedding_grad",
        ("torch.randn(8192, 1024, dtype=torch.bfloat16)", "torch.randint(0, 32000, (8192,))", "32000"),
        form="torch-library",
    ),
    Operator("convolution", "convolution.py"),
    Operator("gemm", "gemm.py", form="torch-library"),
    Operator("layernorm_backward", "layernorm.py", words=("--backward",)),
    Operator("top_k", "top_k.py:route", ("torch.randn(8192, 128, dtype=torch.bfloat16)",)),
    Operator(
        "written_attention", "written_attention.py:attend", ("torch.randn(4, 16, 1024, 64)",) * 3, form="torch-library"
    ),
    Operator("nano_attention", "nano_attention.py"),
    Operator("autocast_mlp", "autocast_mlp.py"),
)  # fmt: skip


@dataclass
class Step:
    """Result of one command."""

    command: str
    ok: bool
    seconds: float
    said: str
    """Last line that the command printed, or the reason for which it failed."""


@dataclass
class Row:
    """The results of an operator's steps so far."""

    name: str
    steps: dict[str, Step] = field(default_factory=dict)
    made_by: str = ""
    """The maker of the seed kernel: TorchInductor, or a template of kopt."""
    best_ms: float | None = None
    eager_ms: float | None = None
    """Time of PyTorch; None where it is not known."""
    estimated: bool = True

    @property
    def is_done(self) -> bool:
        """Return whether the exported kernel is in use."""
        return all(step in self.steps and self.steps[step].ok for step in STEPS)

    @property
    def launches(self) -> str:
        """Return how many kernels the exported model launched on a GPU; empty where it launched none."""
        used = self.steps.get("use")
        found = re.search(r"(\d+) launches; ", used.said) if used else None
        return found[1] if found else ""


def main(words: Sequence[str] | None = None) -> int:
    """Take all operators through all steps; the status is 1 where one did not arrive."""
    names = [one.name for one in OPERATORS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help="these alone")
    parser.add_argument("--judge", default="auto", choices=("auto", "interpret", "cuda"), help="who verifies and times")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each search")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores of all searches")
    parser.add_argument("--jobs", type=int, default=1, help="operators at a time; they share --cores")
    parser.add_argument("--limit", type=float, default=1500.0, help="longest time of one step, s")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time after which all steps are stopped, s")
    parser.add_argument("--folder", type=Path, help="where to work (default: results/operators_JUDGE)")
    parser.add_argument("--again", action="store_true", help="take these operators from the start")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows into this file")
    options = parser.parse_args(words)
    chosen = [one for one in OPERATORS if not options.only or one.name in options.only]
    folder = (options.folder or ROOT / "results" / f"operators_{options.judge}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options.until = time.monotonic() + options.seconds
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda one: brought(one, folder, options), chosen))
    print(f"{table(rows)}\n\n{commands(rows)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(not all(row.is_done for row in rows))


def brought(operator: Operator, folder: Path, options: argparse.Namespace) -> Row:
    """Take an operator through the steps that it lacks, and keep each step's result in the folder."""
    known = folder / f"{operator.name}.json"
    row = Row(operator.name) if options.again else read_row(known, operator.name)
    if "export" not in row.steps:
        exported_file(operator, folder).unlink(missing_ok=True)
    for step in taken(row, operator, folder, options):
        known.write_text(json.dumps(asdict(row), indent=1))
        print(f"{operator.name} {in_words(step)}", file=sys.stderr, flush=True)
    return row


def exported_file(operator: Operator, folder: Path) -> Path:
    """Return the file of an exported kernel."""
    return folder / f"{operator.name}_exported.py"


def read_row(file: Path, name: str) -> Row:
    """Read what an operator has come to; steps that failed are forgotten, so that they are tried again."""
    if not file.exists():
        return Row(name)
    value = json.loads(file.read_text())
    steps = {step: Step(**found) for step, found in value.pop("steps").items() if found["ok"]}
    return Row(**value, steps=steps)


def taken(row: Row, operator: Operator, folder: Path, options: argparse.Namespace) -> Iterator[Step]:
    """Take the steps that an operator lacks, up to the first that fails; yield each as it is done."""
    for name in ON_GPU if options.judge == "cuda" else STEPS:
        if name in row.steps:
            continue
        on_gpu = options.judge == "cuda" and name in ALONE
        step, printed = run(name, command(name, operator, options), folder, options, gpu_alone() if on_gpu else None)
        if name == "run" and step.ok:
            figures = json.loads((folder / "results" / operator.name / "final.json").read_text())
            row.best_ms, row.eager_ms, row.estimated = (figures[key] for key in ("best_ms", "eager_ms", "estimated"))
            row.made_by = maker(operator.name, folder)
        row.steps[name] = step
        (folder / f"{operator.name}.log").open("a").write(f"$ {step.command}\n{printed}\n")
        yield step
        if not step.ok:
            return


def command(step: str, operator: Operator, options: argparse.Namespace) -> list[str]:
    """Return the words of a step, the first of which is `kopt`, or `python` for the last one."""
    name, file, problem = operator.name, exported_file(operator, Path()).name, f"./{operator.name}"
    inputs = ["--inputs", *operator.inputs] if operator.inputs else []
    return {
        "new": ["kopt", "new", problem, "--from", f"{FILES}/{operator.source}", *inputs, *operator.words, "--force"],
        "check": ["kopt", "check", problem],
        "run": ["kopt", "run", problem, f"rounds={options.rounds}", f"judge={options.judge}", "--name", name,
                "--cores", str(max(1, options.cores // options.jobs))],
        "export": ["kopt", "export", f"results/{name}", "--as", operator.form, "--output", file],
        "use": ["python", "-I", "-S", USE, f"{name}/problem.py", file],
        "itself": ["python", f"results/{name}/best_kernel.py"],
    }[step]  # fmt: skip


def run(
    step: str,
    words: Sequence[str],
    folder: Path,
    options: argparse.Namespace,
    gpu: AbstractContextManager[dict[str, str]] | None = None,
) -> tuple[Step, str]:
    """Run a command in the folder, where it needs one with a GPU; return the step and all that the command printed."""
    program = [sys.executable, "-m", "kopt.cli"] if words[0] == "kopt" else [sys.executable]
    real = [*program, *(str(ROOT / word) if word.startswith("benchmarks/") else word for word in words[1:])]
    if step == "use":
        small = yaml.safe_load((folder / words[4]).with_name("problem.yaml").read_text())["workloads"]["small"]
        real += ["--packages", sysconfig.get_path("purelib"), "--judge", options.judge]
        real += ["--small", json.dumps(small.get("ragged", min(small.values(), key=str)))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    with gpu or nullcontext({}) as of_gpu:
        began = time.monotonic()
        ok, printed, errors = ran(real, folder, {**environment, **of_gpu}, min(options.limit, options.until - began))
    said = gist(printed if ok and printed.strip() else printed + errors, ok)
    return Step(shlex.join(words), ok, round(time.monotonic() - began, 1), said), printed + errors


def ran(words: Sequence[str], folder: Path, environment: dict[str, str], seconds: float) -> tuple[bool, str, str]:
    """Run a command and all that it starts for so many seconds at most.

    Returns:
        Whether it ended well, what it printed, and what it printed to stderr.
    """
    if seconds <= 0:
        return False, "", "error: not begun, the time was up"
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    try:
        printed, errors = process.communicate(timeout=None if seconds == float("inf") else seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, errors = process.communicate()
        return False, printed, f"{errors}\nerror: not done in {seconds:.0f} s"
    return process.returncode == 0, printed, errors


@contextmanager
def gpu_alone() -> Iterator[dict[str, str]]:
    """Lease a GPU, so that no search times a kernel on it meanwhile; yield the variables that choose it."""
    from kopt.device.hardware.gpus import visible_gpus
    from kopt.device.hardware.lease import lease

    with lease(visible_gpus(os.environ), wait_s=600.0) as held:
        yield dict(held.gpu.environment)


def gist(printed: str, ok: bool) -> str:
    """Return the line that says most: the last one, or of a failure the line of kopt's error."""
    lines = [line.strip() for line in printed.splitlines() if line.strip() and not line.startswith(" ")]
    bad = [line for line in lines if "error" in line.lower() or line.startswith("fails")]
    return (bad if bad and not ok else lines or [""])[-1][:400]


def maker(name: str, folder: Path) -> str:
    """Return who made the seed kernel of a run: Inductor, a template of kopt, or both."""
    source = json.loads((folder / "results" / name / "problem.json").read_text())["seed"]["source"]
    made = [json.loads(file.read_text())["value"] for file in (folder / SEEDS).glob("*/*.json")]
    return next((str(one["made_by"]) for one in made if one["source"] == source), "hand")


def table(rows: Sequence[Row]) -> str:
    """Write a row for each operator, and the reasons of those that did not arrive."""
    lines = [
        f"| operator | seed by | {' | '.join(ON_GPU)} | launches | best kernel | against eager |",
        f"|{'---|' * (len(ON_GPU) + 5)}",
    ]
    for row in rows:
        steps = [_cell(row.steps.get(name)) for name in ON_GPU]
        best = "" if row.best_ms is None else f"{row.best_ms:.4f} ms{' estimated' if row.estimated else ''}"
        ratio = "" if row.best_ms is None else "unknown" if not row.eager_ms else f"{row.eager_ms / row.best_ms:.2f}x"
        lines.append("| " + " | ".join((row.name, row.made_by, *steps, row.launches, best, ratio)) + " |")
    lines += [f"{row.name}: {name}: {step.said}" for row in rows for name, step in row.steps.items() if not step.ok]
    lines.append(f"{sum(row.is_done for row in rows)} of {len(rows)} operators are exported and in use")
    return "\n".join(lines)


def commands(rows: Sequence[Row]) -> str:
    """Write the commands of each operator."""
    lines = [[f"# {row.name}", *(row.steps[name].command for name in STEPS if name in row.steps)] for row in rows]
    return "\n".join("\n".join(of_one) for of_one in lines)


def _cell(step: Step | None) -> str:
    return "" if step is None else f"{step.seconds:.0f} s" if step.ok else "fails"


def in_words(step: Step) -> str:
    """Write a step in a line."""
    return f"{'ok' if step.ok else 'FAILS'} {step.seconds:.0f} s $ {step.command[:60]}: {step.said}"


if __name__ == "__main__":
    raise SystemExit(main())
