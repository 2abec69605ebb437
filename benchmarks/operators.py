"""Bring operators to kopt as a newcomer does, from `kopt new` to an exported kernel in use, and print a table.

    python benchmarks/operators.py                                # all; without a GPU half an hour on two cores
    python benchmarks/operators.py --only top_k rope --again      # those two, from the start
    python benchmarks/operators.py --judge cuda --json gpu.json   # on a machine with a GPU

Every step is a command in a process of its own, in a folder outside the checkout.  The last step takes the exported
file into a process that cannot import kopt (`benchmarks/operators_use.py`) and compares it with the reference.  What an
operator has come to is kept in the folder, step by step, so the benchmark may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = "benchmarks/operators"
USE = "benchmarks/operators_use.py"

STEPS = ("new", "check", "run", "export", "use")
"""Steps of an operator, in order; each needs those before it."""

LIMIT_S = 1500.0
"""Longest time of one step, s: generous, since the machine may be busy."""

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
        """Return whether all steps were taken."""
        return all(step in self.steps and self.steps[step].ok for step in STEPS)


def main(words: Sequence[str] | None = None) -> int:
    """Take all operators through all steps; the status is 1 where one did not arrive."""
    names = [one.name for one in OPERATORS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help="these alone")
    parser.add_argument("--judge", default="auto", choices=("auto", "interpret", "cuda"), help="who verifies and times")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each search")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores of each search")
    parser.add_argument("--folder", type=Path, help="where to work (default: results/operators_JUDGE)")
    parser.add_argument("--again", action="store_true", help="take these operators from the start")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows into this file")
    options = parser.parse_args(words)
    chosen = [one for one in OPERATORS if not options.only or one.name in options.only]
    folder = (options.folder or ROOT / "results" / f"operators_{options.judge}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for operator in chosen:
        known = folder / f"{operator.name}.json"
        row = Row(operator.name) if options.again else read_row(known, operator.name)
        for step in taken(row, operator, folder, options):
            known.write_text(json.dumps(asdict(row), indent=1))
            print(f"{operator.name} {in_words(step)}", file=sys.stderr, flush=True)
        rows.append(row)
    print(f"{table(rows)}\n\n{commands(rows)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(not all(row.is_done for row in rows))


def read_row(file: Path, name: str) -> Row:
    """Read what an operator has come to; steps that failed are forgotten, so that they are tried again."""
    if not file.exists():
        return Row(name)
    value = json.loads(file.read_text())
    steps = {step: Step(**found) for step, found in value.pop("steps").items() if found["ok"]}
    return Row(**value, steps=steps)


def taken(row: Row, operator: Operator, folder: Path, options: argparse.Namespace) -> Iterator[Step]:
    """Take the steps that an operator lacks, up to the first that fails; yield each as it is done."""
    for name in STEPS:
        if name in row.steps:
            continue
        step, printed = run(name, command(name, operator, options), folder, options)
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
    name, file, problem = operator.name, f"{operator.name}_exported.py", f"./{operator.name}"
    inputs = ["--inputs", *operator.inputs] if operator.inputs else []
    return {
        "new": ["kopt", "new", problem, "--from", f"{FILES}/{operator.source}", *inputs, *operator.words, "--force"],
        "check": ["kopt", "check", problem],
        "run": ["kopt", "run", problem, f"rounds={options.rounds}", f"judge={options.judge}", "--name", name,
                "--cores", str(options.cores)],
        "export": ["kopt", "export", f"results/{name}", "--as", operator.form, "--output", file],
        "use": ["python", "-I", "-S", USE, f"{name}/problem.py", file],
    }[step]  # fmt: skip


def run(step: str, words: Sequence[str], folder: Path, options: argparse.Namespace) -> tuple[Step, str]:
    """Run a command in the folder; return the step and all that the command printed."""
    program = [sys.executable, "-m", "kopt.cli"] if words[0] == "kopt" else [sys.executable]
    real = [*program, *(str(ROOT / word) if word.startswith("benchmarks/") else word for word in words[1:])]
    if step == "use":
        small = yaml.safe_load((folder / words[4]).with_name("problem.yaml").read_text())["workloads"]["small"]
        real += ["--packages", sysconfig.get_path("purelib"), "--judge", options.judge]
        real += ["--small", json.dumps(small.get("ragged", min(small.values(), key=str)))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    began = time.monotonic()
    try:
        done = subprocess.run(
            real, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        ok, printed = done.returncode == 0, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        ok, printed = False, f"not done in {LIMIT_S:.0f} s"
    return Step(shlex.join(words), ok, round(time.monotonic() - began, 1), gist(printed, ok)), printed


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
        "| operator | seed by | new | check | run | export | use | best kernel | against eager |",
        f"|{'---|' * 9}",
    ]
    for row in rows:
        steps = [_cell(row.steps.get(name)) for name in STEPS]
        best = "" if row.best_ms is None else f"{row.best_ms:.4f} ms{' estimated' if row.estimated else ''}"
        ratio = "" if row.best_ms is None else "unknown" if not row.eager_ms else f"{row.eager_ms / row.best_ms:.2f}x"
        lines.append("| " + " | ".join((row.name, row.made_by, *steps, best, ratio)) + " |")
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
