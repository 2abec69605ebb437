"""Verify kernels: run the Python code of each in a caged contestant, and judge its reply and its outputs."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kopt.artifact import text_digest
from kopt.device.build.precompiled import Compiled, Precompiled
from kopt.device.cuda.contestant.contestant import ContestOptions, contest
from kopt.device.cuda.contestant.reply import read_reply
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.results.verdicts import Recorded, VerificationOutcome, failure
from kopt.device.cuda.verification.reply_judge import ReplyJudge
from kopt.device.cuda.verification.slots import Slot, Slots
from kopt.device.cuda.verification.workload_names import of_distinct_names, on_named_workload
from kopt.device.draws.distributions import Draw
from kopt.device.draws.seeds import derive_seed
from kopt.device.expected.tf32 import fitting
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.verdict import Incorrect
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.running import START_PHASE
from kopt.sandbox.service import PREPARE_S

log = logging.getLogger(__name__)

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
        self._replies = ReplyJudge(processes.problem, processes.referee)

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
        main, hidden, small = of_distinct_names(problem)
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
                return self._replies.judge(value, slot)
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
        every = itertools.chain(*of_distinct_names(self._processes.problem))
        workload = next((one for one in every if one.name == name), None)
        reason = f"{reason} (phase {kind})"
        return on_named_workload(self._processes.problem, workload, reason) if workload else reason

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
