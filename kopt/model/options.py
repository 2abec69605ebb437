"""Options of judging and timing, as a rule's command line carries them from the settings to a backend."""

from __future__ import annotations

from kopt.model.base import Value


class MeasureOptions(Value):
    """How a backend that measures times a kernel; another backend is given none."""

    benchmark_warmup: int
    """Untimed launches of a kernel that stays to the end of a race."""
    benchmark_repeat: int
    """Timed launches of a kernel that stays to the end of a race."""
    workers_per_gpu: int
    """Processes that share one GPU for work that is not timed."""
    gpu_wait_seconds: float
    """Longest wait of a job for a GPU that others hold, s."""


class JudgeOptions(Value):
    """How kernels are judged."""

    seed: int
    """Verification inputs follow from this seed and the kernels."""
    judge_seconds: float
    """Wall-clock limit for verifying one kernel, s."""
    measure: MeasureOptions | None = None
    """How times are measured; None for a backend that measures nothing."""

    @property
    def measuring(self) -> MeasureOptions:
        """Options of a backend that measures.

        Raises:
            ValueError: the options are those of a backend that measures nothing.
        """
        if self.measure is None:
            raise ValueError("these options hold no options of measuring")
        return self.measure


class FinalsOptions(Value):
    """How the fastest kernels of a pool are verified and timed anew, side by side."""

    finalists: int
    """Kernels that are measured anew, at most."""
    judging: JudgeOptions
