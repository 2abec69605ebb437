"""Run the benchmarks that need a GPU, all of them on one host, and keep what each prints.

    python benchmarks/on_gpu.py FOLDER [--seconds 1100] [--parts many_gpus matvec ...] [--slots 2]
                                [--kernelbench KernelBench/KernelBench] [--sol-execbench SOL-ExecBench]

Parts begin in the order of the list, each as soon as there is room: searches lease a GPU job by job, so that `--slots`
of them share one; a part that times outside of kopt, or compares numbers of GPUs, gets GPUs for itself.  The same call
goes on with what has not ended; nothing begins that `--seconds` would cut off in its first half minute.  FOLDER gets
`NAME.txt` for each part, and the runs.  The status is 1 where a part failed or did not end.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_S = 30.0
"""Time that must be left for a part to begin, s."""
SEARCH = (
    "rounds=3", "models=[kopt-rewrite]", "candidate_pool_size=2", "num_bottlenecks=2", "samples_per_prompt=4",
    "max_repairs=0", "judge=cuda", "warm=true", "stop={roofline_share: 1.0}",
)  # fmt: skip
"""Settings of the searches on shipped problems."""
SECOND_SEED = ("layernorm", "rmsnorm")
"""Problems that are searched from TorchInductor's kernel, too."""


@dataclass(frozen=True)
class Part:
    """A benchmark."""

    name: str
    command: str
    """Shell command, run in the checkout; `$FOLDER` is the folder of the results."""
    gpus: int = 0
    """GPUs that it needs for itself; 0 where it leases, and shares one GPU with others."""


@dataclass
class Running:
    """A part that runs."""

    part: Part
    gpus: tuple[int, ...]
    process: subprocess.Popen[bytes]
    since: float


def parts(options: argparse.Namespace) -> list[Part]:
    """List the parts in order."""
    python, kopt = shlex.quote(sys.executable), f"{shlex.quote(sys.executable)} -m kopt.cli"
    gpus = max(map(int, options.numbers.split()))
    trust = "--trust" if os.geteuid() == 0 else ""  # the cage of a claim is for users without root's rights
    listed = [
        Part("contexts", f"{python} benchmarks/contexts.py --processes 8 16 --repeat 1", gpus=gpus),
        Part("many_gpus", f"{python} benchmarks/many_gpus.py --samples 5 --chunk {-(-75 // (2 * gpus))} "
             f"--gpus {options.numbers} --noise 20 --round-only warm=true", gpus=gpus),
        *(
            Part(name, f"{kopt} run {name} --name {name} --cores {options.cores} {shlex.join(SEARCH)} "
                 f"second_seed={str(name in SECOND_SEED).lower()} results=$FOLDER/searches store=$FOLDER/store")
            for name in ("gemma3_swiglu", "rmsnorm", "layernorm", "softmax", "matvec", "maxpool3d")
        ),
        *(
            Part(f"claim_{name}", f"{kopt} verify-claim {trust} docs/results/h200/{name}.claim.json")
            for name in ("maxpool3d", "gemma3_swiglu")
        ),
        *(
            Part(f"evaluate_{name}", f"{python} benchmarks/evaluate.py --problem {name} --count 12 --workers 8", gpus=1)
            for name in ("rmsnorm", "maxpool3d", "matvec")
        ),
        Part("search_time", f"{python} benchmarks/search_time.py --warm true --seconds 180 judge=cuda", gpus=1),
        Part("operators", f"{python} benchmarks/operators.py --judge cuda --jobs {options.slots} "
             f"--cores {2 * options.cores} --folder $FOLDER/operators --json $FOLDER/operators.json"),
        Part("moves", f"{python} benchmarks/moves.py --write $FOLDER/moves && for f in $FOLDER/moves/*; do "
             f"for k in kernel after; do echo $f $k; {kopt} evaluate $f/$k.py --problem $f; done; done"),
        Part("replay_anew", f"{kopt} replay docs/results/h200/rmsnorm.replies.tar.xz --anew {trust} --run anew "
             f"--cores {options.cores} --results $FOLDER/replays"),
        Part("tutorial", f"{kopt} run docs/tutorial/llama_norm.py rounds=1 --name norm --cores {options.cores} "
             f"results=$FOLDER/searches store=$FOLDER/store && {kopt} export $FOLDER/searches/norm --as torch-library "
             f"-o $FOLDER/fast_norm.py && for o in '' --compile; do env -u PYTHONPATH {python} "
             "docs/tutorial/tokens_per_second.py $FOLDER/fast_norm.py $o; done", gpus=1),
        Part("gpu_tests", f"{python} -m pytest -q -m gpu -n 0 tests/device/test_gpu_judge.py"),
    ]  # fmt: skip
    if options.sol_execbench:
        folder = shlex.quote(str(options.sol_execbench.resolve()))
        listed.append(Part(
            "third_party",
            f"{kopt} replay docs/results/h200/gemma3_swiglu.replies.tar.xz && {python} benchmarks/third_party.py "
            f"{folder} results/gemma3_swiglu-written --problem {folder}/examples/pytorch/gemma3_swiglu", gpus=1,
        ))  # fmt: skip
    if options.kernelbench:
        folder = shlex.quote(str(options.kernelbench.resolve()))
        listed += [
            Part(f"kernelbench_{share}", f"{python} benchmarks/kernelbench_search.py {folder}/level1 --share {share}/4 "
                 f"--cores {options.cores} --folder $FOLDER/kernelbench rounds=1 samples_per_prompt=4")
            for share in range(4)
        ] + [
            Part("seeds", f"{python} benchmarks/seeds.py {folder}/level1 {folder}/level2 --judge cuda --every 4 "
                 f"--workers {options.slots} --results $FOLDER/seeds.jsonl"),
        ]  # fmt: skip
    return [part for part in listed if not options.parts or part.name in options.parts]


def room(part: Part, running: Sequence[Running], count: int, slots: int) -> tuple[int, ...]:
    """Return the GPUs on which a part may begin now; empty where it has to wait."""
    shares = {gpu: [one.part.gpus == 0 for one in running if gpu in one.gpus] for gpu in range(count)}
    if part.gpus:
        free = [gpu for gpu, users in shares.items() if not users]
        return tuple(free[: part.gpus]) if len(free) >= part.gpus else ()
    open_ones = [gpu for gpu, users in shares.items() if all(users) and len(users) < slots]
    return (min(open_ones, key=lambda gpu: len(shares[gpu])),) if open_ones else ()


def begin(part: Part, gpus: tuple[int, ...], folder: Path) -> Running:
    """Start a part."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "FOLDER": str(folder), "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    with (folder / f"{part.name}.txt").open("ab") as output:
        process = subprocess.Popen(
            ["bash", "-c", part.command], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    return Running(part, gpus, process, time.monotonic())


def main() -> int:
    """Run the parts; print a line for each that ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3600.0, help="limit of the whole call, s")
    parser.add_argument("--parts", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to use; default: all that torch sees")
    parser.add_argument("--slots", type=int, default=2, help="parts that lease, on one GPU at a time")
    parser.add_argument("--cores", type=int, default=0, help="CPU cores of a part; default: an equal share")
    parser.add_argument("--kernelbench", type=Path, help="folder with level1 and level2")
    parser.add_argument("--sol-execbench", type=Path, help="checkout of SOL-ExecBench")
    options = parser.parse_args()
    until, folder = time.monotonic() + options.seconds, options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    count = options.gpus or _gpus()
    options.numbers = " ".join(str(n) for n in (1, 2, 4, 8) if n <= count)
    options.cores = options.cores or max(1, len(os.sched_getaffinity(0)) // (count * options.slots))
    ended = folder / "ended.json"
    done: dict[str, float] = json.loads(ended.read_text()) if ended.exists() else {}
    waiting = [part for part in parts(options) if part.name not in done]
    running: list[Running] = []
    failed = []
    while running or (waiting and time.monotonic() < until - LEAST_S):
        for part in waiting if time.monotonic() < until - LEAST_S else ():
            gpus = room(part, running, count, options.slots)
            if gpus:
                waiting = [one for one in waiting if one is not part]
                running.append(begin(part, gpus, folder))
            elif part.gpus:
                break  # it would never find enough GPUs if others went first
        time.sleep(0.5)
        for one in [one for one in running if one.process.poll() is not None or time.monotonic() > until]:
            running.remove(one)
            seconds = time.monotonic() - one.since
            status = one.process.poll()
            if status is None:
                os.killpg(one.process.pid, signal.SIGTERM)
                one.process.wait()
            words = {None: "cut off", 0: "ended"}.get(status, f"status {status}")
            print(f"{one.part.name:16} {words} after {seconds:.0f} s on GPU {','.join(map(str, one.gpus))}", flush=True)
            if status is None:
                failed.append(one.part.name)
                continue
            failed += [one.part.name] if status else []
            done[one.part.name] = round(seconds, 1)
            ended.write_text(json.dumps(done, indent=1))
    for part in waiting:
        print(f"{part.name:16} not begun")
    return int(bool(failed or waiting))


def _gpus() -> int:
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    raise SystemExit(main())
