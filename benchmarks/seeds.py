"""Make a seed kernel for each KernelBench file, unchanged: how many are right?

    python benchmarks/seeds.py KernelBench/KernelBench/level1 KernelBench/KernelBench/level2 --results seeds.jsonl
    python benchmarks/seeds.py KernelBench/KernelBench/level1 --judge cuda --every 4 --results on_gpu.jsonl

Each file becomes a problem with derived workloads; a seed is made from its reference, built for the described device,
and judged by kopt's interpreter, or with `--judge cuda` by `kopt seed` at full size on a GPU.  A line per file is added
to the results as soon as it is known; files that have one are not tried again, so the benchmark may be stopped at any
time.  The table ends with the reasons for the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from operators import ran

from kopt.errors import KoptError
from kopt.load_config import load_device
from kopt.model.build import BuildFailed, Built
from kopt.model.device import Device
from kopt.model.verdict import Failed, Passed
from kopt.sandbox.cage import Limits
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.store import Store

TryFile = Callable[[Path], tuple[str, str, str]]
"""Returns the outcome of a file, who made its seed, and the reason."""
JUDGE_S = 300.0
"""Limit of judging one seed in kopt's interpreter, s: generous, since the machine may be busy."""

GRACE_S = 15.0
"""Time beyond its limit after which the process of a file is killed, s."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """Result of making and judging the seed of one KernelBench file."""

    name: str
    outcome: str
    """`right`, or the step at which it ended: `no problem`, `no seed`, `build`, `interpret`, `work`, `time`."""
    made_by: str = ""
    reason: str = ""
    seconds: float = 0.0


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; the status is 1 where fewer seeds are right than asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="folders of KernelBench files, or files")
    parser.add_argument("--results", type=Path, required=True, help="file of results, a JSON line each; added to")
    parser.add_argument("--kernels", type=Path, help="keep the seeds in this folder")
    parser.add_argument("--again", default="", help="try files again whose outcome or reason matches this pattern")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth file")
    parser.add_argument("--workers", type=int, default=2, help="files at a time")
    parser.add_argument("--seconds", type=float, default=400.0, help="limit of one file, s")
    parser.add_argument("--make-only", action="store_true", help="make seeds and do not judge them: outcome `made`")
    parser.add_argument("--judge", default="interpret", choices=("interpret", "cuda"), help="who judges the seeds")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no file after this time, min")
    parser.add_argument("--device", default="h100", help="device to make seeds for, a file in config/devices")
    parser.add_argument("--right", type=float, default=0.75, help="least share of right seeds")
    options = parser.parse_args(words)
    files = [file for path in options.paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    files = files[:: options.every]
    rows = known_rows(options.results)
    again = re.compile(options.again) if options.again else None
    kept = {name: row for name, row in rows.items() if not (again and again.search(f"{row.outcome}: {row.reason}"))}
    missing = [file for file in files if name_of(file) not in kept]
    device = load_device(options.device, ROOT)
    try_file = partial(outcome_of, device=device, kernels=options.kernels, judge=not options.make_only)
    if options.judge == "cuda":
        store = options.results.resolve().with_suffix(".store")
        try_file = partial(outcome_on_gpu, seconds=options.seconds, store=store)
    stub = nullcontext() if options.judge == "cuda" else without_gpu(device)
    with stub:
        rows_of = tried(missing, options.workers, options.seconds + GRACE_S, try_file, 60 * options.minutes)
        _keep(rows_of, kept, options.results)
    wanted = [kept[name_of(file)] for file in files if name_of(file) in kept]
    print(in_words(wanted))
    return int(sum(row.outcome == "right" for row in wanted) < options.right * len(wanted))


def _keep(rows: Iterable[Row], kept: dict[str, Row], results: Path) -> None:
    """Add each row to the known ones, to the file of results and to what is printed, as soon as it is known."""
    for row in rows:
        kept[row.name] = row
        with results.open("a") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")
        print(f"{row.name}: {row.outcome} {row.made_by} {row.seconds:.0f} s {row.reason}", flush=True)


def name_of(file: Path) -> str:
    """Return level and name of a file."""
    return f"{file.parent.name}/{file.stem}"


def known_rows(results: Path) -> dict[str, Row]:
    """Read the results so far, the last of each file."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {row.name: row for row in (Row(**json.loads(line)) for line in lines)}


def tried(files: Sequence[Path], workers: int, seconds: float, try_file: TryFile, begin_s: float) -> Iterator[Row]:
    """Try every file, each in a forked process of its own that is killed at its limit; none begins after `begin_s`."""
    context = get_context("fork")
    waiting = list(files)[::-1]
    running: dict[Path, tuple[Any, Any, float]] = {}
    until = time.monotonic() + begin_s
    while running or (waiting and time.monotonic() < until):
        while waiting and len(running) < workers and time.monotonic() < until:
            file = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_answer, args=(sender, file, try_file))
            process.start()
            sender.close()
            running[file] = (process, receiver, time.monotonic())
        time.sleep(0.2)
        for file, (process, receiver, start) in list(running.items()):
            taken = time.monotonic() - start
            if receiver.poll() or not process.is_alive() or taken > seconds:
                yield _row(file, process, receiver, taken)
                del running[file]


def _row(file: Path, process: Any, receiver: Any, taken: float) -> Row:
    try:
        outcome, made_by, reason = receiver.recv() if receiver.poll() else ("time", "", f"not done in {taken:.0f} s")
    except EOFError:
        outcome, made_by, reason = "time", "", "the process died"
    process.kill()
    process.join()
    receiver.close()
    return Row(name_of(file), outcome, made_by, " ".join(reason.split())[:400], round(taken, 1))


def _answer(sender: Any, file: Path, try_file: TryFile) -> None:
    try:
        sender.send(try_file(file))
    except Exception as error:  # noqa: BLE001 - a fault of kopt is a row of the table
        sender.send(("kopt breaks", "", f"{type(error).__name__}: {error}"))


def outcome_of(file: Path, device: Device, kernels: Path | None, judge: bool) -> tuple[str, str, str]:
    """Return the outcome of one file, who made its seed, and the reason."""
    from kopt.device.build.build import BuildJob, build_all
    from kopt.device.facts.facts import problem_facts
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.estimate.full_size.work_shares import undone_work
    from kopt.estimate.kernel_time import estimate
    from kopt.problem.derive import with_workloads
    from kopt.seed.make import make_seeds

    try:
        problem = with_workloads(file.stem, file.read_text())
    except KoptError as error:
        return "no problem", "", str(error)
    try:
        seed = make_seeds(problem, device)[0]
    except KoptError as error:
        return "no seed", "", str(error)
    if kernels is not None:
        kernels.mkdir(parents=True, exist_ok=True)
        (kernels / f"{file.parent.name}_{file.stem}.py").write_text(seed.source)
    if not judge:
        return "made", seed.made_by, ""
    kernel = problem.seed.with_source(seed.source)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        ((_, build),) = build_all([BuildJob(kernel=kernel, problem=problem, device=device)], store=store, workers=1)
        if isinstance(build, BuildFailed):
            return "build", seed.made_by, f"{build.phase}: {build.reason}"
        assert isinstance(build, Built)
        times = estimate(build, problem_facts(problem), device, lambda name: store.text("ptx", name, ".ptx"))
        undone = undone_work(times, None, "interpret")
        if undone is not None:
            return "work", seed.made_by, undone.reason
    try:
        job = VerifyJob(kernel=kernel, problem=problem, seed=0)
        ((_, verdict),) = verify_all([job], workers=1, limits=Limits(wall_s=JUDGE_S))
    except KoptError as error:
        return "not judgeable", seed.made_by, str(error)
    if isinstance(verdict, Passed):
        return "right", seed.made_by, f"{times.objective_ms:.3f} ms estimated"
    phase = f"{verdict.phase}: " if isinstance(verdict, Failed) else "incorrect: "
    return "interpret", seed.made_by, f"{phase}{verdict.reason}"


def outcome_on_gpu(file: Path, seconds: float, store: Path) -> tuple[str, str, str]:
    """Return the outcome of one file by `kopt seed --judge cuda`, who made its seed, and the reason.

    Args:
        file: the file.
        seconds: limit, s.
        store: keeps the GPU's measured rates.
    """
    words = [
        sys.executable, "-m", "kopt.cli", "seed", str(file), "--judge", "cuda", "--json", "--wait", str(seconds),
        "--store", str(store),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    _, printed, errors = ran(words, Path.cwd(), environment, seconds)
    try:
        answer = json.loads(printed)
    except ValueError:
        return "time", "", (errors.strip().splitlines() or ["no answer"])[-1]
    if "error" in answer:
        return ("no seed" if "no seed: " in answer["error"] else "error"), "", answer["error"]
    judged = answer["evaluated"]
    if judged["status"] == "passed":
        return "right", answer["made_by"], f"{judged['time']['ms']:.3f} ms {judged['time']['kind']}"
    return judged["phase"] or judged["status"], answer["made_by"], judged["reason"]


def in_words(rows: Sequence[Row]) -> str:
    """Write the table and the reasons."""
    lines = []
    for level in sorted({row.name.partition("/")[0] for row in rows}):
        of = [row for row in rows if row.name.startswith(f"{level}/")]
        right = [row for row in of if row.outcome == "right"]
        makers = Counter(row.made_by for row in right)
        lines.append(
            f"{level}: {len(of)} files, {len(right)} right ({len(right) / len(of):.0%}): "
            + ", ".join(f"{count} by {maker}" for maker, count in makers.most_common())
        )
    for outcome, count in Counter(row.outcome for row in rows if row.outcome != "right").most_common():
        lines.append(f"{count} ended at {outcome}:")
        lines += [f"  {row.name}: {row.reason[:160]}" for row in rows if row.outcome == outcome]
    return "\n".join(lines)


@contextmanager
def without_gpu(device: Device) -> Iterator[None]:
    """Work as on a machine without a GPU inside the block, and import what every file needs before processes fork."""
    with environment_set(NO_GPU):
        _import_all(device)
        yield


def _import_all(device: Device) -> None:
    from kopt.seed.make import import_inductor

    import_inductor(device)  # first: it takes parts of torch as they are on the pretended device

    import torch

    import kopt.device.build.build
    import kopt.device.interpret.judge
    import kopt.problem.derive  # noqa: F401
    from kopt.device.build.build import warm_up
    from kopt.device.interpret import facade, launch  # noqa: F401

    torch.rand(2, device="meta")
    torch.set_num_threads(1)
    warm_up(device.arch)


if __name__ == "__main__":
    raise SystemExit(main())
