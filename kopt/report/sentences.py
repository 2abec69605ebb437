"""Write what the page says in words that depend on the run: its standing against PyTorch, commands, uses, counters."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal, NamedTuple

from kopt.model.diagnosis import Profile
from kopt.report.numbers import PYTORCH, milliseconds, ratio
from kopt.report.record import FinalFigures, RunRecord, WorkloadSizes

WORKED_OUT = {
    "time_ms": "time, ms",
    "ncu_time_ms": "time under Nsight Compute, ms",
    "gpu__time_duration.sum": "time under Nsight Compute, ns",
    "achieved_gb_s": "fewest bytes of a right kernel over the time, GB/s",
    "memory_share": "this rate over the device's copy rate",
    "dram_share": "bytes that DRAM moved a second over the device's copy rate",
    "achieved_tflop_s": "the reference's operations over the time, TFLOP/s",
    "traffic_ratio": "moved bytes over the fewest",
    "launches": "launches of a call",
    "occupancy": "resident threads over the device's limit",
    "blocks_per_sm": "resident blocks per SM",
    "programs": "blocks of the grid",
    "waves": "grid over the blocks that are resident at a time",
    "registers_per_thread": "registers per thread",
    "local_bytes_per_thread": "bytes spilled per thread",
    "shared_bytes_per_block": "shared memory per block, bytes",
    "num_warps": "warps per block",
    "num_stages": "stages of a loop's pipeline",
}
"""Describes what a profile works out from the build and the time."""


class AgainstPytorch(NamedTuple):
    """How the best kernel stands against the fastest of PyTorch's ways that was timed."""

    result: Literal["win", "loss", "tie"]
    """A tie where the interval of the speedup holds 1, or times that are written alike."""
    text: str


def against_pytorch(final: FinalFigures) -> AgainstPytorch | None:
    """Compare the best kernel with PyTorch's fastest way; None where none was timed."""
    measured = [one for one in final.against if one.name != "seed"]
    if measured:
        fastest = min(measured, key=lambda one: one.ms)
        result: Literal["win", "loss", "tie"] = "win" if fastest.low > 1 else "loss" if fastest.high < 1 else "tie"
        name, ms, speedup = fastest.name, fastest.ms, fastest.speedup
        interval = f", 95 % interval {fastest.low:.3f} to {fastest.high:.3f}"
    else:
        timed = (("eager", final.eager_ms), ("compile", final.compile_ms))
        known = sorted((ms, name) for name, ms in timed if ms is not None)
        if not known:
            return None
        ms, name = known[0]
        speedup, interval = ms / final.best_ms, ""
        result = "tie" if ratio(speedup) == "1.00x" else "win" if speedup > 1 else "loss"
    words = {"win": "Faster than", "loss": "Slower than", "tie": "As fast as"}[result]
    noise = " within the noise of the measurement" if result == "tie" and measured else ""
    estimate = "by the estimate, " if final.estimated else ""
    ways = ", the fastest of PyTorch's ways that were timed" if len(measured) > 1 else ""
    text = f"{words} {PYTORCH.get(name, name)}{ways}{noise}: {estimate}{ratio(speedup)} ({milliseconds(ms)}{interval})."
    return AgainstPytorch(result, text)


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """List what a reader can do with the best kernel and with the search, each with its command."""
    run = shlex.quote(record.run)
    archive = shlex.quote(f"{PurePath(record.run).name}.replies.tar.xz")
    found: list[tuple[str, str]] = []
    if not record.judge.startswith("dry"):
        found = [
            (
                "Compare the best kernel with the reference and time both, on a GPU, in the run's folder",
                "python best_kernel.py",
            ),
            ("Write it as a PyTorch module in place of the reference's", f"kopt export {run} --as module"),
        ]
    if record.command:
        found.append(("Search again", record.command))
    if record.judge == "recorded":
        found.append(("Replay the search again, from its archive", "kopt replay ARCHIVE.replies.tar.xz"))
    elif record.costs:
        found.append(
            ("Pack the search, and replay it on any machine", f"kopt pack {run}\nkopt replay {archive} --run again")
        )
    return found


def used_for(workload: WorkloadSizes, estimated: bool) -> str:
    """Say what a workload was used for: `timed, verified`."""
    uses = ["times estimated" if estimated else "timed"] if workload.timed else []
    uses += ["verified"] if workload.checked else []
    return ", ".join(uses) or ("no check is recorded" if workload.checked is None else "not by this judge")


def counted_in(profile: Profile, counters: Mapping[str, str]) -> list[tuple[str, float, str]]:
    """List what a profile counted: words, value, and the name of a hardware counter.

    Hardware counters stand first, by their words; then what was worked out from the build and the time.  Left out is
    what the device does not offer, and what does not occur in the build.
    """
    known = {name: value for name, value in profile.metrics.items() if value is not None}
    hardware = sorted((counters[name], value, name) for name, value in known.items() if name in counters)
    others = [(_words(name), value, "") for name, value in known.items() if name not in counters and value]
    return [*hardware, *sorted(others)]


def _words(name: str) -> str:
    """Describe a figure that is no hardware counter: `ptx_loop_load_global` counts instructions of the PTX."""
    if name in WORKED_OUT:
        return WORKED_OUT[name]
    for start, where in (("ptx_loop_", "PTX in loops"), ("ptx_", "PTX")):
        if name.startswith(start):
            return f"{where}: {name.removeprefix(start).replace('_', ' ')}"
    return name if "__" in name else name.replace("_", " ")


def on_floors(floors: Mapping[float, Sequence[int]]) -> str:
    """Say that the device's rates were measured anew during the search; empty where the floor stays the same."""
    if len(floors) < 2:
        return ""
    listed = (
        f"{milliseconds(floor)} in round{'' if len(rounds) == 1 else 's'} {', '.join(map(str, rounds))}"
        for floor, rounds in floors.items()
    )
    return (
        f"Shares of the roofline follow from the rates that were measured when a round was judged: the floor is "
        f"{' and '.join(listed)}, as where a search goes on with another GPU."
    )
