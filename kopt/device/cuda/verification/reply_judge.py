"""Judge a contestant's reply: its reports, its results on every draw, and its recorded calls."""

from __future__ import annotations

from kopt.device.cuda.contestant.reply import read_reply
from kopt.device.cuda.contestant.run_draw import DrawReport
from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.cuda.results.verdicts import JUDGE, Recorded, VerificationOutcome, failure, mutation
from kopt.device.cuda.sharing.sheets import forbidden_argument
from kopt.device.cuda.verification.slots import Slot
from kopt.device.cuda.verification.workload_names import on_named_workload
from kopt.device.expected.outputs import Described, DescribedOutput, ResultContract
from kopt.device.reference.rejection import no_launch_reason
from kopt.model.build import Phase
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Check, Incorrect, Verdict
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.service import CHECK_S, PREPARE_S, ServiceProcess


class ReplyJudge:
    """Judge the replies of a chunk's contestants; the contract of each workload's result is asked for once."""

    def __init__(self, problem: Problem, referee: ServiceProcess) -> None:
        """Take what all replies are judged by.

        Args:
            problem: that the candidates solve.
            referee: holds the results of the draws, in the contestants' slots.
        """
        self._problem = problem
        self._referee = referee
        self._contracts: dict[str, ResultContract] = {}

    def judge(self, data: bytes, slot: Slot) -> VerificationOutcome:
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
        for comparison in self._referee.call("judge_all", slot.number, kept, seconds=2 * PREPARE_S):
            checks.extend([comparison.check] if comparison.check else [])
            if not comparison.right:
                return Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))
        if broken is not None:
            return broken
        if reply.phase:
            return failure(_phase(reply.phase), reply.reason)
        workloads = [program.workload for program in reply.programs]
        main = [workload.name for workload in self._problem.main]
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
            return failure(_phase(report.phase), on_named_workload(self._problem, sheet.workload, report.reason))
        if not report.launches:
            reason = no_launch_reason(self._problem.seed.language)
            return failure(Phase.FALLBACK, on_named_workload(self._problem, sheet.workload, reason))
        if argument := forbidden_argument(sheet, report.mutated):
            return mutation(argument)
        violation = self._contract(sheet.workload, draw_index).violation(report.output)
        if violation:
            return failure(Phase.CONTRACT, on_named_workload(self._problem, sheet.workload, violation))
        return None

    def _contract(self, workload: Workload, draw_index: int) -> ResultContract:
        if workload.name not in self._contracts:
            self._contracts[workload.name] = self._referee.call("contract", draw_index, seconds=CHECK_S)
        return self._contracts[workload.name]


def _described(program: RecordedCall) -> DescribedOutput:
    """Describe the output of a recorded call, whose tensors are all on the device."""
    tensors = [Described(view.shape, view.stride, view.dtype, "cuda") for view in program.outputs]
    return DescribedOutput(program.structure, tuple(tensors))


def _phase(name: str) -> Phase:
    return Phase(name) if name in list(Phase) else Phase.CRASH
