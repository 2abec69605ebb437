"""Keep the processes that judge on one device: a referee from beginning to end, and a timer during timing."""

from __future__ import annotations

import logging
import secrets
from types import TracebackType

from kopt.device.cuda.referee.referee import Referee
from kopt.device.cuda.timer.timer import Timer
from kopt.device.cuda.timing.batch import TimedBatch
from kopt.device.cuda.timing.timing_draws import timing_draws
from kopt.device.draws.distributions import TIMED, Draw
from kopt.device.draws.seeds import derive_seed
from kopt.device.hardware.zygote import check_unused, warm
from kopt.errors import DeviceError, WorkerDied
from kopt.model.problem import Problem
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, ServiceProcess

log = logging.getLogger(__name__)

HEALTH_S = 60.0
"""Longest time that a device may take to answer after a contestant was killed, s."""
CURE = "reset it with nvidia-smi --gpu-reset, or use another GPU"
"""Advice on a device that a killed process has broken."""


class JudgeProcesses:
    """The referee and the timer of one device; a context manager that leaves no process behind."""

    def __init__(self, problem: Problem, *, calibrated: bool = False, judges: bool = True) -> None:
        """Start the referee.

        Args:
            problem: to judge on.
            calibrated: the problem's checks have been proven before; otherwise the referee proves them first.
            judges: outputs are going to be compared, for which the referee prepares itself.

        Raises:
            DeviceError: this process cannot be a zygote, or there is no device.
        """
        self.problem = problem
        check_unused()
        self.referee = ServiceProcess("the referee", lambda: Referee(problem))
        self._timer: ServiceProcess | None = None
        self.account: dict[str, float] = {}
        """Seconds waited by process and call, e.g. `the timer: race`; complete once the context is left."""
        try:
            if judges:
                self.referee.begin("warm_up")
            if not calibrated:
                self.referee.begin("prove")
            self.driver = warm()
            """Triton's driver."""
        except BaseException:
            self.referee.kill()
            raise

    def __enter__(self) -> JudgeProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end_timing()
        self._add_to_account(self.referee)
        self.referee.end()

    def check_health(self) -> None:
        """Check that the device still computes after a process on it was killed.

        Raises:
            DeviceError: the device does not answer, or computes wrongly.
        """
        try:
            healthy = self.referee.call("health", seconds=HEALTH_S)
        except (WorkerDied, CallFailed) as error:
            raise DeviceError(f"the device does not answer after a candidate was killed ({error}): {CURE}") from error
        if not healthy:
            raise DeviceError(f"the device computes wrongly after a candidate was killed: {CURE}")

    def begin_timing(self, memory_bytes: int, turn: int) -> TimedBatch:
        """Make new input sets to time on, and start a fresh timer; something must have been verified before.

        The seed of these inputs is drawn after the last contestant has ended, so no candidate can know the inputs.

        Args:
            memory_bytes: memory of the device.
            turn: number of this timing, for the log.
        """
        seed = secrets.token_hex(16)
        log.info("timing %d: inputs from %s", turn, seed)
        bytes_by_workload = {w.name: self.referee.call("timed_size", w, seconds=CHECK_S) for w in self.problem.main}
        draws = timing_draws(self.problem, bytes_by_workload, memory_bytes, seed)
        self.referee.call("make", draws, seconds=PREPARE_S)
        (sheets,) = self.referee.call("slots", 1, seconds=PREPARE_S)
        return TimedBatch(self, draws, sheets)

    def begin_compiling(self) -> TimedBatch:
        """Make inputs to compile baselines with, one set for each main workload, and start a fresh timer."""
        seed = secrets.token_hex(16)
        draws = [Draw(main, TIMED, derive_seed(seed, main.name), kind="timed") for main in self.problem.main]
        self.referee.call("make", draws, seconds=PREPARE_S)
        (sheets,) = self.referee.call("slots", 1, seconds=PREPARE_S)
        return TimedBatch(self, draws, sheets)

    def start_timer(self) -> ServiceProcess:
        """Start a fresh timer in place of the last one."""
        self.end_timing()
        self._timer = ServiceProcess("the timer", lambda: Timer(self.problem, self.driver))
        return self._timer

    def end_timing(self) -> None:
        """End the timer, if there is one."""
        if self._timer is not None:
            self._add_to_account(self._timer)
            self._timer.end()
            self._timer = None

    def _add_to_account(self, process: ServiceProcess) -> None:
        for method, seconds in process.spent.items():
            name = f"{process.name}: {method}"
            self.account[name] = self.account.get(name, 0.0) + seconds
