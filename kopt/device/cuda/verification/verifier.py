"""Verify kernels: run the Python code of each in a caged contestant, and judge its reply and its outputs."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kopt.artifact import text_digest
from kopt.device.build.precompiled import Compiled, Precompiled
from kopt.device.cuda.contestant.contestant import ContestOptions, DrawReport, contest, read_reply
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.cuda.results.verdicts import JUDGE, Recorded, VerificationOutcome, failure, mutation
from kopt.device.cuda.sharing.sheets import Slot, Slots, forbidden_argument
from kopt.device.draws.distributions import Draw
from kopt.device.draws.seeds import derive_seed
from kopt.device.expected.outputs import Described, DescribedOutput, ResultContract
from kopt.device.expected.tf32 import fitting
from kopt.device.reference.rejection import no_launch_reason, on_workload
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload, WorkloadKind
from kopt.model.verdict import Check, Incorrect, Verdict
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.running import START_PHASE
from kopt.sandbox.service import CHECK_S, PREPARE_S

log = logging.getLogger(__name__)

KINDS: tuple[WorkloadKind, ...] = ("timed", "hidden", "small")
"""Kinds of workloads in the order in which `_of_distinct_names` lists them."""
LATE = 1
"""Draws that come after many further calls."""
RESULT_BYTES = 64 << 20
"""Largest reply of a contestant."""
DATA_BYTES = 24 << 30
"""Private memory of a contestant; CUDA maps several gigabytes that it does not touch."""


Rebuild = Callable[[Kernel, Mapping[str, tuple[int, ...]]], frozenset[str]]
"""Compiles a kernel for addresses of its arguments by workload; returns the digests of its cubins."""


class RoundResult(NamedTuple):
    """Result of verifying kernels side by side."""

    outcomes: dict[str, VerificationOutcome]
    starved: list[str]
    """Names of kernels that had neighbours and too little device memory."""
    inputs_touched: bool = False
    """The referee's inputs have changed, which no contestant may do: it works on copies of its own."""


class Verifier:
    """Verify the kernels of one chunk on the processes of a judge."""

    def __init__(
        self,
        processes: JudgeProcesses,
        *,
        seed: int,
        workers: int,
        limits: Limits,
        compiled: Mapping[str, Compiled] | None = None,
        rebuild: Rebuild = lambda kernel, addresses: frozenset(),
    ) -> None:
        """Take options.

        Args:
            processes: the referee, and Triton's driver.
            seed: seed of the run; inputs follow from this seed and from all kernels of the chunk.
            workers: contestants at a time.
            limits: limits of one contestant.
            compiled: builds of the CPU stage by the name of their kernel; such a kernel may launch nothing else.
            rebuild: compiles a kernel for the addresses of its arguments, which its build may depend on.
        """
        self._processes = processes
        self._seed = seed
        self._workers = workers
        self._limits = dataclasses.replace(limits, gpu=True, data_bytes=DATA_BYTES, result_bytes=RESULT_BYTES)
        self._compiled = compiled or {}
        self._rebuild = rebuild
        self._contracts: dict[str, ResultContract] = {}

    def verify(self, kernels: Mapping[str, Kernel]) -> dict[str, VerificationOutcome]:
        """Run the Python code of every kernel in a caged child, on draws that follow from the seed and all kernels.

        Kernels that found too little device memory are run again, alone; all kernels are run again, each alone, when
        some kernel wrote to the referee's inputs.

        Args:
            kernels: by name.

        Raises:
            DeviceError: there is no device, or it broke.
            ProblemError: the checks accept a wrong output on the problem's small workloads.
        """
        seed = (self._seed, "verify", *sorted(text_digest(kernel.source) for kernel in kernels.values()))
        results = [self._run_round(kernels, self._workers, seed)]
        if results[0].starved:
            results.append(self._run_round({name: kernels[name] for name in results[0].starved}, 1, seed))
        if any(result.inputs_touched for result in results):
            log.warning("a candidate wrote to the referee's inputs: each is verified again, alone")
            return {name: self._verify_alone(name, kernel, seed) for name, kernel in kernels.items()}
        return {name: outcome for result in results for name, outcome in result.outcomes.items()}

    def _verify_alone(self, name: str, kernel: Kernel, seed: tuple[object, ...]) -> VerificationOutcome:
        result = self._run_round({name: kernel}, 1, seed)
        if result.inputs_touched:
            return failure(Phase.MUTATION, "it writes to the memory of the process that judges it")
        return result.outcomes[name]

    def _run_round(self, kernels: Mapping[str, Kernel], workers: int, seed: tuple[object, ...]) -> RoundResult:
        """Verify kernels side by side."""
        problem, referee = self._processes.problem, self._processes.referee
        # Kinds of draw are many: they go where they are cheap, and where an autotuner has one more shape to try.
        main, hidden, small = _of_distinct_names(problem)
        late = Draw(problem.main[-1], "normal", derive_seed(*seed, "late"), kind="timed")
        referee.begin("make_verdict", small[-1:], main, hidden, seed, late)
        names, options = list(kernels), ContestOptions(problem.without_hidden(), LATE, self._processes.driver)
        tasks = [contest(kernel, options, self._precompiled(name)) for name, kernel in kernels.items()]
        workers = min(workers, len(tasks))
        log.info("%d kernels to verify, %d at a time", len(tasks), workers)
        slots, result = Slots(referee, workers), RoundResult({}, [])
        for at, outcome in run_forked(tasks, workers=workers, limits=self._limits, message_for=slots.message_for):
            if workers > 1 and _is_starved(outcome):
                result.starved.append(names[at])
            else:
                verified = self._verified(outcome, slots.slot_of(at))
                result.outcomes[names[at]] = self._only_as_built(names[at], kernels[names[at]], verified)
            if not isinstance(outcome, Returned):
                self._processes.check_health()
            slots.release(at)
        return result._replace(inputs_touched=referee.call("restore", seconds=PREPARE_S))

    def _precompiled(self, name: str) -> tuple[Precompiled, ...]:
        return self._compiled[name].kernels if name in self._compiled else ()

    def _verified(self, outcome: Outcome, slot: Slot | None) -> VerificationOutcome:
        """Make a verdict, or a recording, of a contestant's end.

        Raises:
            WorkerDied: the contestant failed before its candidate was imported.
        """
        match outcome:
            case Returned(value):
                assert slot is not None, "a contestant cannot be done before it has its assignment"
                return self._read(value, slot)
            case TimedOut(phase, seconds):
                return failure(Phase.TIMEOUT, self._where(phase, f"no result after {seconds:g} s"))
            case Died(reason, phase, output):
                tail = f"\n{output[-300:].strip()}" if output.strip() else ""
                return failure(Phase.CRASH, self._where(phase, f"the process {reason}") + tail)
            case Raised(kind, message, tail, phase):
                if phase == START_PHASE:
                    raise WorkerDied(
                        f"a contestant failed before its candidate was imported: {kind}: {message}\n{tail}"
                    )
                return failure(Phase.CRASH, self._where(phase, f"{kind}: {message}"))

    def _where(self, phase: str, reason: str) -> str:
        """Say in which phase, and on which workload, a contestant ended; a report of `verify NAME` names it."""
        kind, _, name = phase.partition(" ")
        every = itertools.chain(*_of_distinct_names(self._processes.problem))
        workload = next((one for one in every if one.name == name), None)
        reason = f"{reason} (phase {kind})"
        return self._on(workload, reason) if workload else reason

    def _on(self, workload: Workload, reason: str) -> str:
        """Say on which workload a candidate failed; the sizes of hidden ones stay hidden from candidates."""
        groups = dict(zip(KINDS, _of_distinct_names(self._processes.problem), strict=True))
        kind = next(kind for kind, group in groups.items() if workload.name in {one.name for one in group})
        return on_workload(workload, reason, kind)

    def _only_as_built(self, name: str, kernel: Kernel, outcome: VerificationOutcome) -> VerificationOutcome:
        """Refuse a recording that launches other machine code than its source compiles to; fit a reason to the source.

        Triton may specialise a kernel by values that follow from addresses, so the source is compiled for the
        contestant's addresses before a kernel is refused.
        """
        if isinstance(outcome, Incorrect):
            return outcome.model_copy(update={"reason": fitting(outcome.reason, kernel.source)})
        build = self._compiled.get(name)
        if not isinstance(outcome, Recorded) or build is None:
            return outcome
        foreign = set(outcome.binaries) - build.cubins
        if foreign and not foreign <= self._rebuild(kernel, outcome.addresses):
            return failure(Phase.FALLBACK, "it launches machine code that its source does not compile to")
        return outcome

    def _read(self, data: bytes, slot: Slot) -> VerificationOutcome:
        """Check a contestant's reply, and its outputs on every draw."""
        try:
            reply, binaries = read_reply(data)
        except Malformed:
            return failure(Phase.CRASH, "the reply is malformed")
        checks: list[Check] = []
        broken: Verdict | None = None
        kept: list[int] = []
        for draw_index, report in enumerate(reply.reports[: len(slot.sheets)]):
            broken = self._broken(report, slot, draw_index)
            if broken is not None:
                break
            kept.append(draw_index)
        for comparison in self._processes.referee.call("judge_all", slot.number, kept, seconds=2 * PREPARE_S):
            checks.extend([comparison.check] if comparison.check else [])
            if not comparison.right:
                return Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))
        if broken is not None:
            return broken
        if reply.phase:
            return failure(_phase(reply.phase), reply.reason)
        workloads = [program.workload for program in reply.programs]
        main = [workload.name for workload in self._processes.problem.main]
        if len(reply.reports) != len(slot.sheets) or workloads != main:
            return failure(Phase.CRASH, "the reply is not complete")
        for program in reply.programs:
            violation = self._contracts[program.workload].violation(_described(program))
            if violation:
                return failure(Phase.CONTRACT, f"the recorded call: {violation}")
        return Recorded(reply.programs, binaries, tuple(checks), dict(reply.seconds), reply.addresses)

    def _broken(self, report: DrawReport, slot: Slot, draw_index: int) -> Verdict | None:
        """Check one draw without the values of its result; return None when nothing is wrong."""
        sheet = slot.sheets[draw_index]
        if report.phase:
            return failure(_phase(report.phase), self._on(sheet.workload, report.reason))
        if not report.launches:
            reason = no_launch_reason(self._processes.problem.seed.language)
            return failure(Phase.FALLBACK, self._on(sheet.workload, reason))
        if argument := forbidden_argument(sheet, report.mutated):
            return mutation(argument)
        violation = self._contract(sheet.workload, draw_index).violation(report.output)
        if violation:
            return failure(Phase.CONTRACT, self._on(sheet.workload, violation))
        return None

    def _contract(self, workload: Workload, draw_index: int) -> ResultContract:
        if workload.name not in self._contracts:
            self._contracts[workload.name] = self._processes.referee.call("contract", draw_index, seconds=CHECK_S)
        return self._contracts[workload.name]


def _described(program: RecordedCall) -> DescribedOutput:
    """Describe the output of a recorded call, whose tensors are all on the device."""
    tensors = [Described(view.shape, view.stride, view.dtype, "cuda") for view in program.outputs]
    return DescribedOutput(program.structure, tuple(tensors))


def _of_distinct_names(problem: Problem) -> list[list[Workload]]:
    """Return main, hidden and small workloads; one with the name of an earlier one gets its kind before its name."""
    groups: list[list[Workload]] = []
    names: set[str] = set()
    for kind in ("main", "hidden", "small"):
        workloads: tuple[Workload, ...] = getattr(problem, kind)
        clash = any(workload.name in names for workload in workloads)
        named = [w.model_copy(update={"name": f"{kind} {w.name}"}) if clash else w for w in workloads]
        names |= {workload.name for workload in named}
        groups.append(named)
    return groups


def _is_starved(outcome: Outcome) -> bool:
    """Return whether a contestant found too little memory: it says so, or failed before its candidate was imported."""
    if isinstance(outcome, Raised):
        return outcome.phase == START_PHASE
    if not isinstance(outcome, Returned):
        return False
    try:
        reply, _ = read_reply(outcome.value)
    except Malformed:
        return False
    return any(report.starved for report in reply.reports)


def _phase(name: str) -> Phase:
    return Phase(name) if name in list(Phase) else Phase.CRASH
