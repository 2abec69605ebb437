"""The processes of one device, and what they are asked: verify candidates, begin and end their timing.

Which verdict follows from an answer is decided here; who races whom, and for how long, is the judge's business.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

import torch

from kopt.artifact import text_digest
from kopt.device.build.precompiled import Compiled, Precompiled
from kopt.device.cuda.batch import TimedBatch
from kopt.device.cuda.contestant import Given, Terms, Told, contest, read_reply
from kopt.device.cuda.ipc import Shared
from kopt.device.cuda.referee import Referee, Sheet
from kopt.device.cuda.timer import Timer
from kopt.device.cuda.verdicts import JUDGE, Recorded, failure, mutation
from kopt.device.hardware.zygote import check_unused, warm
from kopt.device.reference import contract
from kopt.device.reference.compare import Contract
from kopt.device.reference.distributions import DISTRIBUTIONS, TIMED, Draw, derive_seed, plan
from kopt.device.reference.facts import input_names
from kopt.errors import DeviceError, WorkerDied
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Check, Incorrect, Verdict
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.pool import START_PHASE, Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, ServiceProcess

log = logging.getLogger(__name__)

HEALTH_S = 60.0
"""How long a device may take to answer after a contestant was killed, s."""
LATE = 1
"""Draws that come after many calls."""
RESULT_BYTES = 64 << 20
DATA_BYTES = 24 << 30
"""Private memory of a contestant; CUDA maps several gigabytes that it does not touch."""
SET_SHARE = 0.2
"""Share of the device's memory that the input sets of one workload may take while it is timed."""
SETS_SHARE = 0.6
"""The same with those that are only verified."""
MOST_SETS = 3


class JudgeProcesses:
    """One device with its referee; a context manager that leaves no process behind."""

    def __init__(self, problem: Problem, *, seed: int, workers: int, limits: Limits, calibrated: bool = False) -> None:
        """Start the referee; it first proves that its checks can tell, unless the problem is known to be `calibrated`.

        Raises:
            DeviceError: this process cannot be a zygote, or there is no device.
        """
        self.problem = problem
        self._seed = seed
        self._workers = workers
        self._limits = dataclasses.replace(limits, gpu=True, data_bytes=DATA_BYTES, result_bytes=RESULT_BYTES)
        check_unused()
        self.referee = ServiceProcess("the referee", lambda: Referee(problem))
        self._timer: ServiceProcess | None = None
        self._contracts: dict[str, Contract] = {}
        self._compiled: Mapping[str, Compiled] = {}
        self.account: dict[str, float] = {}
        """Seconds by what was waited for, e.g. `the timer: race`; complete once the bench is left."""
        try:
            self.referee.begin("warm_up")
            if not calibrated:
                self.referee.begin("prove")
            self.driver = warm()
        except BaseException:
            self.referee.kill()
            raise

    def __enter__(self) -> JudgeProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end_timing()
        self._settle(self.referee)
        self.referee.end()

    # --- verification -------------------------------------------------------------------------------------------------

    def verify(
        self, kernels: Mapping[str, Kernel], compiled: Mapping[str, Compiled] | None = None
    ) -> dict[str, Recorded | Verdict]:
        """Run every kernel's Python code in a caged child, on draws that follow from the seed and from all of them.

        Those that found too little device memory are run again, alone; and all of them, each alone, when one of them
        wrote to the inputs that they share.

        Args:
            kernels: by name.
            compiled: what the CPU stage made of a kernel, by name; it is loaded, and nothing else may be launched.

        Raises:
            DeviceError: there is no device, or it broke.
            ProblemError: no check can tell right from wrong on the problem's small workloads.
        """
        self._compiled = compiled or {}
        seed = (self._seed, "verify", *sorted(text_digest(kernel.source) for kernel in kernels.values()))
        rounds = [self._round(kernels, self._workers, seed)]
        if rounds[0].starved:
            rounds.append(self._round({name: kernels[name] for name in rounds[0].starved}, 1, seed))
        if any(one.touched for one in rounds):
            log.warning("a candidate wrote to the referee's inputs: each is verified again, alone")
            return {name: self._alone(name, kernel, seed) for name, kernel in kernels.items()}
        return {name: heard for one in rounds for name, heard in one.heard.items()}

    def _alone(self, name: str, kernel: Kernel, seed: tuple[object, ...]) -> Recorded | Verdict:
        alone = self._round({name: kernel}, 1, seed)
        if alone.touched:
            return failure(Phase.MUTATION, "it writes to the memory of the process that judges it")
        return alone.heard[name]

    def _round(self, kernels: Mapping[str, Kernel], workers: int, seed: tuple[object, ...]) -> _Round:
        """Verify side by side."""
        draws = plan((*self.problem.main, *self.problem.hidden), *seed)
        draws += (Draw(self.problem.main[-1], "normal", derive_seed(*seed, "late")),)
        self.referee.begin("make", draws)
        names, terms = list(kernels), Terms(self.problem, LATE, self.driver)
        tasks = [contest(kernel, terms, self._given(name)) for name, kernel in kernels.items()]
        workers = min(workers, len(tasks))
        slots, done = _Slots(self.referee, workers), _Round({}, [])
        for at, outcome in run_forked(tasks, workers=workers, limits=self._limits, message_for=slots.tell):
            if workers > 1 and _is_starved(outcome):
                done.starved.append(names[at])
            else:
                heard = self._heard(outcome, slots.of(at), draws)
                done.heard[names[at]] = self._built_only(names[at], heard)
            if not isinstance(outcome, Returned):
                self.check_health()
            slots.release(at)
        return done._replace(touched=self.referee.call("restore", seconds=PREPARE_S))

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

    def _heard(self, outcome: Outcome, slot: _Slot | None, draws: Sequence[Draw]) -> Recorded | Verdict:
        match outcome:
            case Returned(value):
                assert slot is not None, "a contestant cannot be done before it was told what to do"
                return self._judged(value, slot, draws)
            case TimedOut(phase, seconds):
                return failure(Phase.TIMEOUT, f"no result after {seconds:g} s (phase {phase})")
            case Died(reason, phase, output):
                tail = f"\n{output[-300:].strip()}" if output.strip() else ""
                return failure(Phase.CRASH, f"the process {reason} (phase {phase}){tail}")
            case Raised(kind, message, tail, phase):
                if phase == START_PHASE:
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

    def _judged(self, data: bytes, slot: _Slot, draws: Sequence[Draw]) -> Recorded | Verdict:
        try:
            reply, binaries = read_reply(data)
        except Malformed:
            return failure(Phase.CRASH, "the reply is malformed")
        checks: list[Check] = []
        for at, told in enumerate(reply.told[: len(draws)]):
            wrong = self._wrong(told, slot, at, checks)
            if wrong is not None:
                return wrong
        if reply.phase:
            return failure(_phase(reply.phase), reply.reason)
        workloads = [program.workload for program in reply.programs]
        if len(reply.told) != len(draws) or workloads != [w.name for w in self.problem.main]:
            return failure(Phase.CRASH, "the reply is not complete")
        return Recorded(reply.programs, binaries, tuple(checks), dict(reply.seconds))

    def _wrong(self, told: Told, slot: _Slot, at: int, checks: list[Check]) -> Verdict | None:
        """What is wrong with one draw; None, and a check added, when nothing is."""
        sheet = slot.sheets[at]
        if told.phase:
            return failure(_phase(told.phase), told.reason)
        if not told.launches:
            return failure(Phase.FALLBACK, "the entry point launches no Triton kernel")
        if argument := self.forbidden(sheet, told.mutated):
            return mutation(argument)
        violation = self._contract(sheet.workload, at).violation(told.output)
        if violation:
            return failure(Phase.CONTRACT, violation)
        comparison = self.referee.call("judge", slot.number, at, seconds=PREPARE_S)
        checks.extend([comparison.check] if comparison.check else [])
        return None if comparison.right else Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))

    def _contract(self, workload: Workload, at: int) -> Contract:
        if workload.name not in self._contracts:
            self._contracts[workload.name] = self.referee.call("contract", at, seconds=CHECK_S)
        return self._contracts[workload.name]

    def forbidden(self, sheet: Sheet, changed: Sequence[int]) -> str:
        """The first of the changed argument tensors that may not change, by name; empty when all may.

        Args:
            sheet: of the draw.
            changed: positions; one that no argument has is called `?`.
        """
        names = self._arguments(sheet) if changed else []
        found = (names[place] if 0 <= place < len(names) else "?" for place in changed)
        return next((name for name in found if name not in self.problem.mutates), "")

    def _arguments(self, sheet: Sheet) -> list[str]:
        """Names of the argument tensors, in order."""
        reference = contract.load_reference(self.problem, sheet.workload)
        with torch.device("meta"):
            model = contract.make_model(reference, self.problem)
        given = zip(input_names(model, len(sheet.inputs)), sheet.inputs, strict=True)
        names = [name for name, value in given if isinstance(value, Shared)]
        names += sorted(name for name, _ in model.named_parameters())
        return names + sorted(name for name, _ in model.named_buffers())

    # --- timing -------------------------------------------------------------------------------------------------------

    def begin_timing(self, memory_bytes: int, turn: int) -> TimedBatch:
        """Make the input sets that are timed on, and start a fresh timer; something has been verified before.

        What they hold nobody could know before: no candidate's Python runs any more when their seed is drawn.

        Args:
            memory_bytes: of the device.
            turn: whose timing this is, for the log.
        """
        seed = secrets.token_hex(16)
        log.info("timing %d: inputs from %s", turn, seed)
        draws = [
            Draw(workload, distribution, derive_seed(seed, workload.name, place))
            for workload in self.problem.main
            for place, distribution in enumerate(self._distributions(workload, memory_bytes))
        ]
        self.referee.call("make", draws, seconds=PREPARE_S)
        (sheets,) = self.referee.call("slots", 1, seconds=PREPARE_S)
        return TimedBatch(self, draws, sheets)

    def start_timer(self) -> ServiceProcess:
        """A fresh timer in place of the last one."""
        self.end_timing()
        self._timer = ServiceProcess("the timer", lambda: Timer(self.problem, self.driver))
        return self._timer

    def end_timing(self) -> None:
        """End the timer, if there is one."""
        if self._timer is not None:
            self._settle(self._timer)
            self._timer.end()
            self._timer = None

    def _settle(self, process: ServiceProcess) -> None:
        for method, seconds in process.spent.items():
            name = f"{process.name}: {method}"
            self.account[name] = self.account.get(name, 0.0) + seconds

    def _distributions(self, workload: Workload, memory_bytes: int) -> list[str]:
        """Of the input sets of a workload: those that are timed, then those that are only verified."""
        size = self.referee.call("size", workload, seconds=CHECK_S)
        size *= 2 if self.problem.mutates else 1  # the timer then keeps a copy of each set
        sets = max(2, min(MOST_SETS, int(SET_SHARE * memory_bytes / max(size, 1))))
        room = int(SETS_SHARE * memory_bytes / max(size, 1)) - sets
        return [TIMED] * sets + [name for name in DISTRIBUTIONS if name != TIMED][: max(0, room)]


class _Round(NamedTuple):
    """What verifying side by side came to."""

    heard: dict[str, Recorded | Verdict]
    starved: list[str]
    """Names of those without memory that had neighbours."""
    touched: bool = False
    """The inputs were not what they had been; a contestant works on copies of its own."""


class _Slot(NamedTuple):
    """Where one contestant's outputs go."""

    number: int
    sheets: Sequence[Sheet]


@dataclass
class _Slots:
    """Which contestant has which slot.

    The referee makes the slots when the first contestants have their contexts, and ask: then it is known what room
    there is.
    """

    referee: ServiceProcess
    most: int
    _free: list[_Slot] = field(default_factory=list)
    _held: dict[int, _Slot] = field(default_factory=dict)
    _memory_share: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._free) + len(self._held)

    def tell(self, at: int) -> bytes | None:
        """What a contestant is told: its slot's sheets; None when no slot is free."""
        if not self.count:
            made = self.referee.call("slots", self.most, seconds=PREPARE_S)
            self._free = [_Slot(number, sheets) for number, sheets in enumerate(made)]
            self._memory_share = self.referee.call("memory_share", self.count, seconds=CHECK_S)
        if not self._free:
            return None
        self._held[at] = self._free.pop(0)
        return pickle.dumps(Given(tuple(self._held[at].sheets), self._memory_share))

    def of(self, at: int) -> _Slot | None:
        """A contestant's slot; None if it was told of none."""
        return self._held.get(at)

    def release(self, at: int) -> None:
        """The contestant has ended, and its outputs have been looked at."""
        if at in self._held:
            slot = self._held.pop(at)
            self.referee.call("poison", slot.number, seconds=CHECK_S)
            self._free.append(slot)


def _is_starved(outcome: Outcome) -> bool:
    """Whether a contestant found too little memory: it says so, or failed before its candidate was imported."""
    if isinstance(outcome, Raised):
        return outcome.phase == START_PHASE
    if not isinstance(outcome, Returned):
        return False
    try:
        reply, _ = read_reply(outcome.value)
    except Malformed:
        return False
    return any(told.starved for told in reply.told)


def _phase(name: str) -> Phase:
    return Phase(name) if name in list(Phase) else Phase.CRASH
