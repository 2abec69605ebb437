"""Define the options of judging and timing, which a rule's command line passes from the settings to a backend."""

from __future__ import annotations

from kopt.model.base import Value


class MeasureOptions(Value):
    """Options of timing a kernel, for a backend that measures."""

    benchmark_warmup: int
    """Untimed launches of a kernel that stays to the end of a race."""
    benchmark_repeat: int
    """Timed launches of a kernel that stays to the end of a race."""
    workers_per_gpu: int
    """Processes that share one GPU for work that is not timed."""
    gpu_wait_seconds: float
    """Longest wait of a job for a GPU that other processes hold, s."""


class JudgeOptions(Value):
    """Options of judging kernels."""

    seed: int
    """Seed from which, with the kernels, the verification inputs follow."""
    judge_seconds: float
    """Wall-clock limit for verifying one kernel, s."""
    measure: MeasureOptions | None = None
    """Options of timing; None for a backend that measures nothing."""

    @property
    def measuring(self) -> MeasureOptions:
        """The options of timing.

        Raises:
            ValueError: there are none, since the backend measures nothing.
        """
        if self.measure is None:
            raise ValueError("there are no options of timing: the backend measures nothing")
        return self.measure


class FinalsOptions(Value):
    """Options of verifying and timing the fastest kernels of a pool anew, side by side."""

    finalists: int
    """Most kernels that are measured anew."""
    judging: JudgeOptions
