"""Search faster kernels for a sample of KernelBench problems with the embedded rewriter, and compare with PyTorch.

    git clone https://github.com/ScalingIntelligence/KernelBench
    python benchmarks/kernelbench_search.py KernelBench/KernelBench/level1 [--sample 20] [--lanes 4] [--seconds 540]
                                            [--folder FOLDER] [--judge cuda] [--share 0/4] [SETTING=VALUE ...]

The files are taken as they are, without a kernel: a seed is made of the reference.  The sample is
`random.Random(0).sample(sorted(files), 20)`.  With `--lanes` several searches run at a time, each with one visible GPU;
more lanes than there are visible GPUs share them: their jobs lease one in turn.  A search that `--seconds` cuts
off has a row that says how far it came; the same call goes on with it, and reads what has ended.  The table has, for
each problem, the best kernel's time, and the ratio of PyTorch's times to it with 95 % intervals: to `torch.compile`,
and to the faster of eager and `torch.compile` with max-autotune; then geometric means, the share of problems in which
the kernel is faster, and the minutes for which a GPU was held.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from kopt.device.hardware.gpus import visible_gpus

ROOT = Path(__file__).resolve().parent.parent
BACK = re.compile(r"given back after ([\d.]+) s")
FIGURE = re.compile(r"^(?=R\d+: |max-autotune |compile |eager )([\w-]+)\b.*?([\d.]+) ms", re.MULTILINE)
"""A line of a search with the best time of a round so far, or with a baseline's."""
SETTINGS = {
    "rounds": "2", "models": "[kopt-rewrite]", "samples_per_prompt": "2", "max_repairs": "0",
    "baselines": "[eager, compile, max-autotune]",
}  # fmt: skip
"""Settings of every search."""


class Ratio(NamedTuple):
    """PyTorch's time over the best kernel's, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})" if self.low < self.high else f"{self.value:.3f}"


class Row(NamedTuple):
    """The result of the search for one problem."""

    name: str
    best_ms: float = math.nan
    compiled: Ratio | None = None
    """Against `torch.compile`."""
    fastest: Ratio | None = None
    """Against the faster of eager and max-autotune."""
    against: str = ""
    """Which of the two."""
    gpu_s: float = 0.0
    """Seconds for which the search's jobs held a GPU."""
    seconds: float = 0.0
    reason: str = ""
    """Why there is no kernel; empty where there is one."""

    def __str__(self) -> str:
        name = self.name[:52]
        if self.reason:
            return f"{name:52} {self.reason}"
        return (
            f"{name:52} {self.best_ms:9.4f} {self.compiled or '-'!s:>22} {self.fastest or '-'!s:>22} {self.against:12} "
            f"{self.gpu_s:6.0f} {self.seconds:6.0f}"
        )


def sample(folder: Path, count: int) -> list[Path]:
    """Draw the problems."""
    return random.Random(0).sample(sorted(folder.glob("*.py")), count)


def search(file: Path, options: argparse.Namespace, folder: Path, gpu: str, until: float) -> Row:
    """Search for one problem, and read what it ended with."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", file.stem)
    settings = SETTINGS | {"judge": options.judge, "results": str(folder / "results"), "store": str(folder / "store")}
    settings |= dict(setting.split("=", 1) for setting in options.settings)
    command = [
        sys.executable, "-m", "kopt.cli", "run", str(file.resolve()), "--name", name, "--cores", str(options.cores),
        *(f"{key}={value}" for key, value in settings.items()),
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    since, run = time.monotonic(), folder / "results" / name
    log = folder / f"{name}.txt"
    if (run / "final.json").exists():
        return row(name, json.loads((run / "final.json").read_text()), held_by(run), 0.0)
    before = log.read_text(errors="replace") if log.exists() else ""
    with log.open("a") as output:
        environment = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": gpu}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(max(until - since, 1.0))
            cut_off = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)
            process.wait()
            cut_off = True
    seconds = time.monotonic() - since
    held = held_by(run)
    if not (run / "final.json").exists():
        printed = log.read_text(errors="replace")
        reason = why_none(printed if cut_off else printed.removeprefix(before), cut_off=cut_off)
        return Row(name, gpu_s=held, seconds=seconds, reason=reason)
    return row(name, json.loads((run / "final.json").read_text()), held, seconds)


def why_none(log: str, *, cut_off: bool) -> str:
    """Say why a search has no result: its first error, or, where it was cut off, how far it came.

    Args:
        log: what the search printed, earlier calls included where it was cut off; the jobs that it kills then print
            errors, too.
        cut_off: whether its time was over.
    """
    if cut_off:
        came = FIGURE.findall(log)
        return f"out of time{'; ' if came else ''}{', '.join(f'{name} {ms} ms' for name, ms in dict(came).items())}"
    return next((line[:160] for line in log.splitlines() if line.startswith("kopt: error")), "no result")


def held_by(run: Path) -> float:
    """Add up the seconds for which a run's jobs held a GPU."""
    return sum(float(one) for path in run.rglob("*.log") for one in BACK.findall(path.read_text(errors="replace")))


def row(name: str, final: dict[str, Any], held: float, seconds: float) -> Row:
    """Read the figures of a finished search."""
    against = {one["name"]: one for one in final["against"]}
    if not against:  # estimates: there are no baselines but eager
        eager = final["eager_ms"] / final["best_ms"] if final.get("eager_ms") else math.nan
        return Row(name, final["best_ms"], None, Ratio(eager, eager, eager), "eager, est.", held, seconds)
    rivals = [against[key] for key in ("eager", "max-autotune") if key in against]
    fastest = min(rivals, key=lambda one: one["ms"]) if rivals else None
    return Row(
        name, final["best_ms"], _ratio(against.get("compile")), _ratio(fastest), fastest["name"] if fastest else "",
        held, seconds,
    )  # fmt: skip


def _ratio(one: dict[str, Any] | None) -> Ratio | None:
    return Ratio(one["speedup"], one["low"], one["high"]) if one else None


def summary(title: str, ratios: list[Ratio]) -> str:
    """Say what the ratios come to."""
    if not ratios:
        return f"{title}: not compared"
    mean = math.exp(sum(math.log(one.value) for one in ratios) / len(ratios))
    faster, slower = sum(one.low > 1 for one in ratios), sum(one.high < 1 for one in ratios)
    return f"{title}: geometric mean {mean:.3f}x over {len(ratios)}; faster on {faster}, slower on {slower}"


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("level", type=Path, help="folder of KernelBench files")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--share", default="0/1", metavar="I/N", help="of the sample every N-th problem, from I on")
    parser.add_argument("--lanes", type=int, default=1, help="searches at a time, each with one visible GPU")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="CPU cores of one search")
    parser.add_argument("--seconds", type=float, default=3600.0, help="limit of the whole call")
    parser.add_argument("--judge", default="cuda")
    parser.add_argument("--folder", type=Path, help="folder of the searches, kept; the same call goes on there")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="further settings of the searches")
    options = parser.parse_intermixed_args()
    visible = [gpu.uuid for gpu in visible_gpus(os.environ)] or [""]
    gpus = [visible[lane % len(visible)] for lane in range(options.lanes)]
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    first, step = map(int, options.share.split("/"))
    files = sample(options.level, options.sample)[first::step]
    for file in files:
        waiting.put(file)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kopt-kernelbench-") as name:
        folder = (options.folder or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + options.seconds

        def lane(gpu: str) -> None:
            while time.monotonic() < until:
                try:
                    file = waiting.get_nowait()
                except queue.Empty:
                    return
                rows.append(search(file, options, folder, gpu, until))
                print(rows[-1], flush=True)

        print(f"{'problem':52} {'best ms':>9} {'torch.compile':>22} {'the better of both':>22} {'':12} GPU s      s")
        threads = [threading.Thread(target=lane, args=(gpu,)) for gpu in gpus]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [one for one in rows if not one.reason]
    not_begun = len(files) - len(rows)
    print(f"{len(found)} of {len(files)} searches ended with a kernel, {not_begun} were not begun; dollars 0")
    print(summary("against torch.compile", [one.compiled for one in found if one.compiled]))
    print(summary("against the faster of eager and max-autotune", [one.fastest for one in found if one.fastest]))
    print(f"GPU held {sum(one.gpu_s for one in rows) / 60:.1f} min")


if __name__ == "__main__":
    main()
