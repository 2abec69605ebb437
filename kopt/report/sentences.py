"""Write what the page says in words that depend on the run: its standing against PyTorch, commands, uses, counters."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal, NamedTuple

from kopt.model.diagnosis import Profile
from kopt.model.verdict import Check
from kopt.report.numbers import (
    ESTIMATE_ERROR,
    PYTORCH,
    WITHIN_ERROR,
    WITHIN_NOISE,
    is_within_error,
    milliseconds,
    percent,
    ratio,
)
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


STANDINGS = {"win": "Faster than", "loss": "Slower than", "tie": "As fast as"}


class AgainstPytorch(NamedTuple):
    """How the best kernel stands against the fastest of PyTorch's ways that was timed."""

    result: Literal["win", "loss", "tie"]
    """A tie where the interval of the speedup holds 1, or an estimate is nearer to 1 than its error."""
    text: str


def against_pytorch(final: FinalFigures) -> AgainstPytorch | None:
    """Compare the best kernel with PyTorch's fastest way; None where none was timed."""
    measured = [one for one in final.against if one.name != "seed"]
    if not measured:
        return _by_other_times(final)
    fastest = min(measured, key=lambda one: one.ms)
    result: Literal["win", "loss", "tie"] = "win" if fastest.low > 1 else "loss" if fastest.high < 1 else "tie"
    noise = " within the noise of the measurement" if result == "tie" else ""
    ways = ", the fastest of PyTorch's ways that were timed" if len(measured) > 1 else ""
    times = f"{milliseconds(fastest.ms)}, 95 % interval {fastest.low:.3f} to {fastest.high:.3f}"
    name = PYTORCH.get(fastest.name, fastest.name)
    return AgainstPytorch(result, f"{STANDINGS[result]} {name}{ways}{noise}: {ratio(fastest.speedup)} ({times}).")


def unsure_gain(final: FinalFigures) -> str:
    """Say why it cannot be told that the best kernel is faster than the seed; empty where it is, or is the seed."""
    if final.best_ms == final.seed_ms:
        return ""
    if final.estimated:
        return WITHIN_ERROR if is_within_error(final.speedup) else ""
    measured = next((one for one in final.against if one.name == "seed"), None)
    return WITHIN_NOISE if measured and measured.low <= 1 <= measured.high else ""


def fastest_of_pytorch(final: FinalFigures) -> dict[str, float]:
    """Name the fastest of PyTorch's own ways whose time is known, for people, with its time, ms; empty without one."""
    measured = {one.name: one.ms for one in final.against if one.name != "seed"}
    known: dict[str, float | None] = {**measured} or {"eager": final.eager_ms, "compile": final.compile_ms}
    times = [(ms, name) for name, ms in known.items() if ms is not None]
    return {PYTORCH.get(name, name): ms for ms, name in sorted(times)[:1]}


def _by_other_times(final: FinalFigures) -> AgainstPytorch | None:
    """Compare the best kernel with PyTorch by times that were not taken side by side."""
    timed = (("eager", final.eager_ms), ("compile", final.compile_ms))
    known = sorted((ms, PYTORCH[name]) for name, ms in timed if ms is not None)
    if not known:
        return None
    ms, name = known[0]
    speedup = ms / final.best_ms
    times = f"{ratio(speedup)} ({milliseconds(ms)})"
    result: Literal["win", "loss", "tie"] = "win" if speedup > 1 else "loss"
    if not final.estimated:
        result = "tie" if ratio(speedup) == "1.00x" else result
        return AgainstPytorch(result, f"{STANDINGS[result]} {name}: {times}.")
    if is_within_error(speedup):
        side = {"win": "faster", "loss": "slower"}[result] if ratio(speedup) != "1.00x" else "as fast"
        return AgainstPytorch(
            "tie",
            f"Faster or slower than {name}, the estimate cannot tell: it says {side}, {times}, and both times are "
            f"estimates, commonly off by {percent(ESTIMATE_ERROR)}.",
        )
    return AgainstPytorch(result, f"{STANDINGS[result]} {name}: by the estimate, {times}.")


def verified_on(workloads: Sequence[WorkloadSizes]) -> str:
    """Say on which sizes the best kernel was verified, and that the timed ones are not among them where so."""
    if not workloads or any(one.checked is None for one in workloads):
        return ""
    checked = [f"{one.title or one.name} ({one.sizes})" for one in workloads if one.checked]
    unchecked = [one.title or one.name for one in workloads if one.timed and not one.checked]
    if not checked:
        return "Verified on no size."
    never = f"; never at the size that its time is of ({', '.join(unchecked)})" if unchecked else ""
    return f"Verified on {', '.join(checked)}{never}."


def inputs_by_size(checks: Sequence[Check], titles: Mapping[str, str]) -> str:
    """Say which kinds of inputs were drawn on which workloads; empty where all were drawn on each."""
    on: dict[str, list[str]] = {}
    for check in checks:
        names = on.setdefault(check.distribution.partition(" ")[0], [])
        name = titles.get(check.workload) or check.workload
        names += [name] if name not in names else []
    groups: dict[tuple[str, ...], list[str]] = {}
    for kind, names in on.items():
        groups.setdefault(tuple(sorted(names)), []).append(kind)
    if len(groups) < 2:
        return ""
    return "; ".join(f"{', '.join(kinds)} on {', '.join(names)}" for names, kinds in groups.items())


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """List what a reader can do with the best kernel and with the search, each with its command."""
    folder = record.folder or f"results/{record.run}"
    run, kernel = shlex.quote(folder), shlex.quote(f"{folder}/best_kernel.py")
    archive = shlex.quote(f"{PurePath(record.run).name}.replies.tar.xz")
    found: list[tuple[str, str]] = []
    if not record.judge.startswith("dry"):
        found = [
            (
                "Compare the best kernel with the reference and time both, on a GPU; the run's folder is named as its "
                "start named it, relative to where it was started",
                f"python {kernel}",
            ),
            ("Write it as a PyTorch module in place of the reference's", f"kopt export {run} --as module"),
        ]
        if record.call:
            name = record.call.partition("(")[0].rpartition(" ")[2]
            found.insert(
                1,
                (
                    "Call it from Python, with inputs as the reference's get_inputs makes them, on a GPU"
                    + ("; model is the reference's Model" if "=model." in record.call else ""),
                    f"import sys\nsys.path.insert(0, {folder!r})\nfrom best_kernel import {name}\n{record.call}",
                ),
            )
    if record.command:
        asked = (
            "; its proposers answer through the exchange folder, so that somebody has to write the replies again "
            "(docs/replays.md), while a replay takes those that are there" if record.asks_people else ""
        )  # fmt: skip
        found.append((f"Search again, under another name{asked}", record.command))
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
    if workload.checked is None:
        return ", ".join([*uses, "no check is recorded"])
    return ", ".join([*uses, *([] if workload.checked else ["never verified"])])


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
