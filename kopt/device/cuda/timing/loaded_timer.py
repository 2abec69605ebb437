"""Keep subjects loaded in a timer process: load them, and load them again into a fresh timer when one breaks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from kopt.device.baselines.compilations import Subject
from kopt.device.cuda.results.verdicts import Recorded
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.draws.distributions import TIMED, Draw
from kopt.device.hardware.lease import AGAIN_S, LENT_WAIT_S, have_again, was_busy
from kopt.errors import ProblemError, WorkerDied
from kopt.model.problem import Problem
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, ServiceProcess

log = logging.getLogger(__name__)


class TimingProcesses(Protocol):
    """The processes that a batch needs."""

    @property
    def problem(self) -> Problem:
        """The problem that the subjects solve."""

    @property
    def referee(self) -> ServiceProcess:
        """The process that holds the input sets and the expected outputs."""

    def start_timer(self) -> ServiceProcess:
        """Start a fresh timer in place of the last one."""

    def end_timing(self) -> None:
        """End the timer, if there is one."""

    def check_health(self) -> None:
        """Check that the device still computes."""


Result = TypeVar("Result")


@dataclass
class LoadedTimer:
    """A timer with its input sets opened, and the subjects that are loaded into it."""

    processes: TimingProcesses
    draws: Sequence[Draw]
    sheets: Sequence[Sheet]
    """Sheets of the draws, in order of the draws."""
    _loaded: dict[str, Recorded] = field(default_factory=dict)
    baselines: dict[str, Subject] = field(default_factory=dict)
    """The baselines that are loaded, by name."""
    _timer: ServiceProcess | None = None

    @property
    def timer(self) -> ServiceProcess:
        """The timer process; it is started when it is first needed, and again after a compilation has ended it."""
        return self._timer or self._start()

    def load(self, name: str, recorded: Recorded) -> None:
        """Load a candidate's programs."""
        self.timer.call("load", name, recorded.programs, dict(recorded.binaries), seconds=CHECK_S)
        self._loaded[name] = recorded

    def compile(self, subject: Subject, seconds: float) -> bytes:
        """Compile a baseline in a fresh timer, which ends with it, and return the packed compilation.

        Where others kept the GPU for long that the timer had lent, the baseline is compiled once more, and nothing is
        lent.

        Args:
            subject: the baseline's compilation.
            seconds: limit of compiling it.

        Raises:
            CallFailed: the compilation failed.
            GpuBusy: the GPU was lent, and was not to be had again.
        """
        try:
            return self._compiled(subject, seconds)
        except CallFailed as error:
            if not was_busy(error):
                raise
            log.warning("others kept the GPU that was lent: %s is compiled again", subject.name)
        return self._compiled(subject, seconds)

    def _compiled(self, subject: Subject, seconds: float) -> bytes:
        try:
            packed = self.timer.call("compile", subject, seconds=seconds + LENT_WAIT_S + AGAIN_S)
        except (CallFailed, WorkerDied, ProblemError):
            self._end_compiling()
            raise
        self._end_compiling()
        assert isinstance(packed, bytes)
        return packed

    def _end_compiling(self) -> None:
        self.processes.end_timing()
        self._timer = None
        have_again()

    def add_baseline(self, subject: Subject, seconds: float) -> None:
        """Add a baseline.

        Args:
            subject: the baseline, or one compilation of it.
            seconds: limit of compiling it.

        Raises:
            CallFailed: the reference failed.
        """
        found, new = self.timer.call("baseline", subject, seconds=seconds)
        if subject.folder:
            log.info("%s: %d graphs compiled before, %d compiled now", subject.name, found, new)
        self.baselines[subject.name] = subject

    def revive(self, cause: Exception) -> None:
        """Replace a timer that broke by a fresh one, with all subjects loaded again and the inputs restored.

        Args:
            cause: what broke it: where memory was short, the referee frees what only saves time.
        """
        self.processes.end_timing()
        self.processes.check_health()
        if is_short_of_memory(cause):
            self.processes.referee.call("release", seconds=CHECK_S)
        self.processes.referee.call("restore", seconds=PREPARE_S)
        self._start()
        for name, recorded in list(self._loaded.items()):
            self.load(name, recorded)
        for subject in self.baselines.values():
            self.timer.call("baseline", subject, seconds=PREPARE_S)

    def is_of_referee(self, error: Exception) -> bool:
        """Return whether the referee failed, which runs nothing of any subject."""
        referee = self.processes.referee
        return referee.pid == 0 or (isinstance(error, CallFailed) and error.process == referee.name)

    def with_memory(self, call: Callable[[], Result]) -> Result:
        """Call what uses the timer; where memory is short there, free what only saves time, and call it once more.

        Raises:
            WorkerDied, CallFailed: the call broke the timer otherwise, or again, or the referee failed.
        """
        try:
            return call()
        except CallFailed as error:
            if not is_short_of_memory(error) or self.is_of_referee(error):
                raise
            log.warning("the timer has too little memory: %s", str(error).partition("\n")[0])
            self.revive(error)
        return call()

    def drop(self, name: str) -> None:
        """Do not load a subject again."""
        self._loaded.pop(name, None)

    def draws_of(self, workload: str) -> list[Draw]:
        """Return the draws of a workload, in order of its input sets."""
        return [draw for draw in self.draws if draw.workload.name == workload]

    def draw_index(self, workload: str, place: int) -> int:
        """Return the position among all draws of a workload's input set."""
        return [at for at, draw in enumerate(self.draws) if draw.workload.name == workload][place]

    def _start(self) -> ServiceProcess:
        self._timer = timer = self.processes.start_timer()
        timed = Counter(draw.workload.name for draw in self.draws if draw.distribution == TIMED)
        timer.call("open", list(self.sheets), dict(timed), seconds=PREPARE_S)
        return timer


def is_short_of_memory(error: Exception) -> bool:
    """Return whether a process on the device had too little memory."""
    return "out of memory" in str(error)
