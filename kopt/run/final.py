"""Compute the final figures of a run: its best kernel against the seed and the baselines."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.estimate.eager import eager_ms
from kopt.model.outcome import BEST, SEED
from kopt.model.timing import Measured
from kopt.model.trial import Trial
from kopt.report.record import Comparison, FinalFigures
from kopt.roofline import ample_ms
from kopt.run.value import Run
from kopt.statistics import measured_ratio


def final_figures(run: Run) -> FinalFigures:
    """Compare the best kernel with the seed and the baselines: measured side by side on a GPU, else estimated."""
    if run.outcome:
        figures = measured_figures(run.best, run.outcome.finals.timings)
        return figures.model_copy(update={"ample_ms": ample_ms(run.facts, run.device)})
    last, best = run.last, run.best
    return FinalFigures(
        best_name=best.name,
        description=best.description,
        best_ms=last.best_ms,
        seed_ms=last.seed_ms,
        speedup=last.seed_ms / last.best_ms,
        eager_ms=eager_ms(run.facts, run.device),
        estimated=last.estimated,
        roofline_share=last.roofline_share,
        ample_ms=ample_ms(run.facts, run.device),
    )


def measured_figures(best: Trial, timings: Mapping[str, Measured]) -> FinalFigures:
    """Compute the figures from times that were measured side by side.

    Args:
        best: the first trial with the best kernel.
        timings: times of `best`, `seed` and the baselines, by these names.
    """
    best_timing = timings[BEST]
    against = tuple(_comparison(name, timings[name], best_timing) for name in timings if name != BEST)
    return FinalFigures(
        best_name=best.name,
        description=best.description,
        best_ms=best_timing.objective_ms,
        seed_ms=timings[SEED].objective_ms,
        speedup=next(comparison.speedup for comparison in against if comparison.name == SEED),
        against=against,
        eager_ms=timings["eager"].objective_ms if "eager" in timings else None,
        compile_ms=timings["compile"].objective_ms if "compile" in timings else None,
        interval=best_timing.interval_ms,
        estimated=False,
        roofline_share=best_timing.roofline_share,
        workloads={workload.workload: workload.median_ms for workload in best_timing.workloads},
    )


def _comparison(name: str, timing: Measured, best: Measured) -> Comparison:
    ratio = measured_ratio(timing, best)
    return Comparison(
        name=name, ms=timing.objective_ms, speedup=ratio.middle, low=ratio.low, high=ratio.high,
        compilations_ms=timing.compilations_ms,
    )  # fmt: skip
