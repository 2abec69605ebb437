"""Time kernels on inputs that no call had before and on known ones, and refuse those that use earlier results again."""

from __future__ import annotations

import logging
import random
import statistics as stats
from collections.abc import Sequence
from dataclasses import dataclass, field

from kopt import statistics
from kopt.device.baselines.compilations import Subject
from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.times import INCUMBENT
from kopt.device.cuda.results.verdicts import failure
from kopt.device.cuda.timing.batch import Pair, Turn
from kopt.device.cuda.timing.tolerant_timing import BROKEN, TolerantTiming
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.verdict import Failed
from kopt.sandbox.service import PREPARE_S, CallFailed

log = logging.getLogger(__name__)

SAME_TIMES = Pair(1.0, 1.0)
"""Times of a control where there is none: its ratio is 1."""
REUSE = 1.05
"""Largest allowed ratio of the time on new inputs to the time on known ones, relative to the control's ratio."""
SUSPECT = 1.02
"""Median ratio, relative to the control's, above which more turns are taken."""
REUSE_CONFIDENCE = 0.999
"""Confidence of the interval that decides."""
FIRST_TURNS, MOST_TURNS = 5, 25
"""Turns of every kernel on new and known inputs, and of one that stays suspect."""
TICK_MS = 0.003
"""Resolution of the clock, generously, ms: short calls differ by that much."""


@dataclass
class NewInputs:
    """Times of a chunk's kernels on new and on known inputs, and what they show."""

    results: ChunkResults
    """Verdicts are added here."""
    turns: list[Turn] = field(default_factory=list)
    """Times on new and on known inputs, turn by turn."""
    control: str = ""
    """Name of the kernel or baseline whose times are the yardstick: the incumbent, or eager PyTorch; empty for none.

    Neither uses results of earlier calls again, so the ratio of its time on new inputs to its time on known inputs is
    what new inputs cost any kernel.
    """

    def time(self, timing: TolerantTiming, names: Sequence[str]) -> None:
        """Time kernels on new and on known inputs in turn, beside an honest control, while they are suspect."""
        if not set(names) & set(self.results.recorded):
            return
        self.control = _control(timing)
        checked = random.randrange(FIRST_TURNS)
        for turn in range(MOST_TURNS):
            here = [name for name in names if name in self.results.recorded and name != self.control]
            suspects = [name for name in here if turn < FIRST_TURNS or self.suspect(name)]
            if not suspects:
                break
            self.turns.append(self._turn(timing, suspects, turn, verify=turn == checked))

    def refuse(self) -> None:
        """Fail every kernel that is slower on inputs that it has not been called with before."""
        for name in list(self.results.recorded):
            log.info("%s: new over known inputs, relative to the control: %s", name, self.ratios(name))
            verdict = self.reused(name)
            if verdict is not None:
                self.results.fail(name, verdict)

    def ratios(self, name: str) -> dict[str, list[float]]:
        """Return by workload and turn the time on new inputs over the time on known ones, relative to the control.

        Calls on new inputs are slower for many reasons (values, clocks, addresses, tables of pages), and these reasons
        slow the control down too.
        """
        return {
            facts.workload: [
                _new_ratio(turn[facts.workload][name]) / _new_ratio(turn[facts.workload].get(self.control, SAME_TIMES))
                for turn in self.turns
                if name in turn.get(facts.workload, {})
            ]
            for facts in self.results.times.facts.workloads
        }

    def suspect(self, name: str) -> bool:
        """Return whether the calls so far do not show that a kernel is as fast on new inputs as on known ones."""
        ratios = [values for values in self.ratios(name).values() if values]
        return not ratios or any(len(v) < FIRST_TURNS or stats.median(v) > SUSPECT for v in ratios)

    def reused(self, name: str) -> Failed | None:
        """Refuse a kernel that is slower on inputs that it has not been called with before; None when it is not.

        The whole interval of the median ratio has to lie above `REUSE`, on at least `MOST_TURNS` turns.
        """
        for workload, ratios in self.ratios(name).items():
            if len(ratios) < MOST_TURNS:
                continue
            interval = statistics.median_interval(ratios, confidence=REUSE_CONFIDENCE)
            pairs = [turn[workload][name] for turn in self.turns if name in turn.get(workload, {})]
            known_ms = stats.median(pair.known_ms for pair in pairs)
            if interval.low > REUSE and (interval.middle - 1.0) * known_ms > TICK_MS:
                new_ms = stats.median(pair.new_ms for pair in pairs)
                beside = f", relative to the same ratio of {self.control}" if self.control else ""
                return failure(
                    Phase.REUSE,
                    f"{new_ms:.4f} ms on {workload} on new inputs, {known_ms:.4f} ms on inputs that it was called with "
                    f"before: {interval.middle:.3f} ({interval.low:.3f} to {interval.high:.3f} in {len(pairs)} turns"
                    f"{beside}): what it computed in earlier calls is used again",
                )
        return None

    def _turn(self, timing: TolerantTiming, suspects: Sequence[str], turn: int, *, verify: bool) -> Turn:
        """Time one turn; when it breaks, each subject alone, and drop those that break alone.

        Args:
            timing: times the subjects.
            suspects: names of the subjects, without the control.
            turn: number of earlier turns.
            verify: verify the outputs on the new inputs, before other inputs take their place.
        """
        control = [self.control] if self.control else []

        def timed(names: Sequence[str]) -> Turn:
            times = timing.batch.alternate(names, turn, keep=verify)
            if verify:
                timing.verify_kept([name for name in names if name in self.results.recorded])
            return times

        subjects = list(dict.fromkeys([*suspects, *control]))
        try:
            return timed(subjects)
        except BROKEN as error:
            log.warning("timing on new inputs broke (%s): each subject alone", error)
            timing.batch.revive(error)
        return timing.one_by_one(subjects, lambda name: timed([name]))


def _control(timing: TolerantTiming) -> str:
    """Return the name of the control: the incumbent, or eager, which is added here; empty if adding it fails."""
    if INCUMBENT in timing.results.recorded:
        return INCUMBENT
    if "eager" not in timing.batch.baselines:
        try:
            timing.batch.add_baseline(Subject("eager", "eager"), PREPARE_S)
        except (WorkerDied, CallFailed) as error:
            log.warning("no control for calls on new inputs: %s", error)
            timing.batch.revive(error)
            return ""
    return "eager"


def _new_ratio(pair: Pair) -> float:
    return pair.new_ms / pair.known_ms
