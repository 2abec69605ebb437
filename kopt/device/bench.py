"""The processes of one device, and what they are asked: verify candidates, begin and end their timing.

Which verdict follows from an answer is decided here; who races whom, and for how long, is the judge's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

import torch

from kopt.artifact import text_digest
from kopt.device import contract
from kopt.device.batch import Batch
from kopt.device.cage import Limits
from kopt.device.contestant import Terms, Told, contest, read_reply
from kopt.device.distributions import Draw, derive_seed, plan
from kopt.device.facts import input_names
from kopt.device.findings import JUDGE, Recorded, failure, mutation
from kopt.device.fork import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.device.ipc import Shared
from kopt.device.precompiled import Compiled, Precompiled
from kopt.device.referee import Referee, Sheet
from kopt.device.timing import Timer
from kopt.device.trusted import CHECK_S, PREPARE_S, CallFailed, Trusted
from kopt.device.verify import Contract
from kopt.device.zygote import check_unused, warm
from kopt.errors import DeviceError, ProblemError, WorkerDied
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Check, Incorrect, Verdict

HEALTH_S = 60.0
"""How long a device may take to answer after a contestant was killed, s."""
LATE = 1
"""Draws that come after many calls."""
RESULT_BYTES = 64 << 20
DATA_BYTES = 24 << 30
"""Private memory of a contestant; CUDA maps several gigabytes that it does not touch."""
SET_SHARE = 0.2
"""Share of the device's memory that the input sets of one workload may take while it is timed."""
MOST_SETS = 3


class Bench:
    """One device with its referee; a context manager that leaves no process behind."""

    def __init__(self, problem: Problem, *, seed: int, workers: int, limits: Limits, calibrated: bool = False) -> None:
        """Start the referee; unless the problem is known to be `calibrated`, prove that its checks can tell.

        Raises:
            DeviceError: this process cannot be a zygote, or there is no device.
            ProblemError: no check can tell right from wrong on the problem's small workloads.
        """
        self.problem = problem
        self._seed = seed
        self._workers = workers
        self._limits = dataclasses.replace(limits, gpu=True, data_bytes=DATA_BYTES, result_bytes=RESULT_BYTES)
        check_unused()
        self.referee = Trusted("the referee", lambda: Referee(problem))
        self._timer: Trusted | None = None
        self._contracts: dict[str, Contract] = {}
        self._compiled: Mapping[str, Compiled] = {}
        self.account: dict[str, float] = {}
        """Seconds by what was waited for, e.g. `the timer: race`; complete once the bench is left."""
        try:
            self.referee.begin("warm_up")
            self.driver = warm()  # takes seconds, while the referee does its own first things
            refusal = "" if calibrated else self.referee.call("refusal", seconds=PREPARE_S)
        except BaseException:
            self.referee.kill()
            raise
        if refusal:
            self.referee.kill()
            raise ProblemError(refusal)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end_timing()
        self._settle(self.referee)
        self.referee.end()

    # --- verification -------------------------------------------------------------------------------------------------

    def verify(
        self, kernels: Mapping[str, Kernel], compiled: Mapping[str, Compiled] | None = None
    ) -> Iterator[tuple[str, Recorded | Verdict]]:
        """Run every kernel's Python code in a caged child, on draws that follow from the seed and from all of them.

        Those that found too little device memory are run again, alone.

        Args:
            kernels: by name.
            compiled: what the CPU stage made of a kernel, by name; it is loaded, and nothing else may be launched.
        """
        self._compiled = compiled or {}
        starved: dict[str, Kernel] = {}
        seed = (self._seed, "verify", *sorted(text_digest(kernel.source) for kernel in kernels.values()))
        yield from self._round(kernels, self._workers, seed, starved)
        if starved:
            yield from self._round(starved, 1, seed, {})

    def _round(
        self, kernels: Mapping[str, Kernel], workers: int, seed: tuple[object, ...], starved: dict[str, Kernel]
    ) -> Iterator[tuple[str, Recorded | Verdict]]:
        """Verify side by side; those without memory, if they had neighbours, go into `starved` instead."""
        draws = plan((*self.problem.main, *self.problem.hidden), *seed)
        draws += (Draw(self.problem.main[-1], "normal", derive_seed(*seed, "late")),)
        names = list(kernels)
        sheets: list[list[Sheet]] = self.referee.call("prepare", draws, min(workers, len(names)), seconds=PREPARE_S)
        workers = len(sheets)
        terms = Terms(self.problem, LATE, self.referee.call("memory_share", workers, seconds=CHECK_S), self.driver)
        slots = _Slots(len(names), workers)
        tasks = [
            contest(kernel, terms, partial(_sheets_of, sheets, slots, at), self._given(name))
            for at, (name, kernel) in enumerate(kernels.items())
        ]
        for at, outcome in run_forked(tasks, workers=workers, limits=self._limits):
            slot = slots.of(at)
            heard = self._built_only(names[at], self._heard(outcome, slot, draws, sheets[slot]))
            if not isinstance(outcome, Returned):
                self.check_health()
            self.referee.call("poison", slot, seconds=CHECK_S)
            slots.release(at)
            if workers > 1 and _is_starved(outcome):
                starved[names[at]] = kernels[names[at]]
            else:
                yield names[at], heard

    def _given(self, name: str) -> tuple[Precompiled, ...]:
        return self._compiled[name].kernels if name in self._compiled else ()

    def check_health(self) -> None:
        """Whether the device still computes after something was killed on it.

        Raises:
            DeviceError: it does not.
        """
        try:
            healthy = self.referee.call("health", seconds=HEALTH_S)
        except (WorkerDied, CallFailed) as error:
            raise DeviceError(f"the device does not answer after a candidate was killed: {error}") from error
        if not healthy:
            raise DeviceError("the device computes wrongly after a candidate was killed")

    def _heard(self, outcome: Outcome, slot: int, draws: Sequence[Draw], sheets: Sequence[Sheet]) -> Recorded | Verdict:
        match outcome:
            case Returned(value):
                return self._judged(value, slot, draws, sheets)
            case TimedOut(phase, seconds):
                return failure(Phase.TIMEOUT, f"no result after {seconds:g} s (phase {phase})")
            case Died(reason, phase, output):
                tail = f"\n{output[-300:].strip()}" if output.strip() else ""
                return failure(Phase.CRASH, f"the process {reason} (phase {phase}){tail}")
            case Raised(kind, message, tail, phase):
                if phase == "start":
                    raise WorkerDied(
                        f"a contestant failed before its candidate was imported: {kind}: {message}\n{tail}"
                    )
                return failure(Phase.CRASH, f"{kind}: {message} (phase {phase})")

    def _built_only(self, name: str, heard: Recorded | Verdict) -> Recorded | Verdict:
        """A verdict in place of a recording that launches other machine code than the CPU stage made of the source."""
        known = self._compiled.get(name)
        if isinstance(heard, Recorded) and known is not None and not set(heard.binaries) <= known.cubins:
            return failure(Phase.FALLBACK, "it launches machine code that its source does not compile to")
        return heard

    def _judged(self, data: bytes, slot: int, draws: Sequence[Draw], sheets: Sequence[Sheet]) -> Recorded | Verdict:
        try:
            reply, binaries = read_reply(data)
        except ValueError:
            return failure(Phase.CRASH, "the reply is malformed")
        checks: list[Check] = []
        for at, told in enumerate(reply.told[: len(draws)]):
            wrong = self._wrong(told, slot, at, sheets[at], checks)
            if wrong is not None:
                return wrong
        if reply.phase:
            return failure(_phase(reply.phase), reply.reason)
        workloads = [program.workload for program in reply.programs]
        if len(reply.told) != len(draws) or workloads != [w.name for w in self.problem.main]:
            return failure(Phase.CRASH, "the reply is not complete")
        return Recorded(reply.programs, binaries, tuple(checks), dict(reply.seconds))

    def _wrong(self, told: Told, slot: int, at: int, sheet: Sheet, checks: list[Check]) -> Verdict | None:
        """What is wrong with one draw; None, and a check added, when nothing is."""
        if told.phase:
            return failure(_phase(told.phase), told.reason)
        if not told.launches:
            return failure(Phase.FALLBACK, "the entry point launches no Triton kernel")
        if told.mutated >= 0 and (name := self._argument(sheet, told.mutated)) not in self.problem.mutates:
            return mutation(name)
        violation = self._contract(sheet.workload, at).violation(told.output)
        if violation:
            return failure(Phase.CONTRACT, violation)
        comparison = self.referee.call("judge", slot, at, seconds=PREPARE_S)
        checks.extend([comparison.check] if comparison.check else [])
        return None if comparison.right else Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))

    def _contract(self, workload: Workload, at: int) -> Contract:
        if workload.name not in self._contracts:
            self._contracts[workload.name] = self.referee.call("contract", at, seconds=CHECK_S)
        return self._contracts[workload.name]

    def _argument(self, sheet: Sheet, place: int) -> str:
        """Name of an argument tensor by its position."""
        reference = contract.load_reference(self.problem, sheet.workload)
        with torch.device("meta"):
            model = contract.make_model(reference, self.problem)
        given = zip(input_names(model, len(sheet.inputs)), sheet.inputs, strict=True)
        names = [name for name, value in given if isinstance(value, Shared)]
        names += sorted(name for name, _ in model.named_parameters())
        names += sorted(name for name, _ in model.named_buffers())
        return names[place] if place < len(names) else "?"

    # --- timing -------------------------------------------------------------------------------------------------------

    def begin_timing(self, memory_bytes: int, seed: int) -> Batch:
        """Make the input sets that are timed on, and start a fresh timer; something has been verified before."""
        draws = [
            Draw(workload, "normal", derive_seed(self._seed, seed, "timed", workload.name, place))
            for workload in self.problem.main
            for place in range(self._sets(workload, memory_bytes))
        ]
        (sheets,) = self.referee.call("prepare", draws, 1, seconds=PREPARE_S)
        return Batch(self, draws, sheets, seed)

    def start_timer(self) -> Trusted:
        """A fresh timer in place of the last one."""
        self.end_timing()
        self._timer = Trusted("the timer", lambda: Timer(self.problem, self.driver))
        return self._timer

    def end_timing(self) -> None:
        """End the timer, if there is one."""
        if self._timer is not None:
            self._settle(self._timer)
            self._timer.end()
            self._timer = None

    def _settle(self, process: Trusted) -> None:
        for method, seconds in process.spent.items():
            name = f"{process.name}: {method}"
            self.account[name] = self.account.get(name, 0.0) + seconds

    def _sets(self, workload: Workload, memory_bytes: int) -> int:
        size = self.referee.call("size", workload, seconds=CHECK_S)
        return max(2, min(MOST_SETS, int(SET_SHARE * memory_bytes / max(size, 1))))


def _sheets_of(sheets: Sequence[Sequence[Sheet]], slots: _Slots, at: int) -> Sequence[Sheet]:
    return sheets[slots.of(at)]


@dataclass
class _Slots:
    """Which slot a child has: children start in order, each in the lowest slot that is free.

    A child asks in its own copy of this, made at the fork, and finds what its parent will find.
    """

    total: int
    workers: int
    _next: int = 0
    _held: dict[int, int] = field(default_factory=dict)

    def of(self, index: int) -> int:
        """The slot of a child that runs."""
        self._assign()
        return self._held[index]

    def release(self, index: int) -> None:
        """The child has ended."""
        self._assign()
        del self._held[index]

    def _assign(self) -> None:
        while self._next < self.total and len(self._held) < self.workers:
            self._held[self._next] = min(set(range(self.workers)) - set(self._held.values()))
            self._next += 1


def _is_starved(outcome: Outcome) -> bool:
    """Whether a contestant says that it found too little memory."""
    if not isinstance(outcome, Returned):
        return False
    try:
        reply, _ = read_reply(outcome.value)
    except ValueError:
        return False
    return any(told.starved for told in reply.told)


def _phase(name: str) -> Phase:
    return Phase(name) if name in list(Phase) else Phase.CRASH
