"""Judge simplifications of a kernel, without a GPU or on one, and write the simplified kernel with its provenance."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.backends.one_kernel import EvaluateRequest
from kopt.commands.parts.evaluation import Evaluated
from kopt.commands.parts.one_kernel import (
    estimate_without_gpu,
    evaluate_on_gpu,
    judge_without_gpu,
)
from kopt.errors import ConfigError
from kopt.jobs.kernels import kernel_source
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.timing import Estimated, mean_over
from kopt.model.trial import Trial as Candidate
from kopt.neutral import one_line
from kopt.report.lineage import chain
from kopt.report.numbers import time_text
from kopt.report.reasons import short_reason
from kopt.report.record import Comparison, FinalFigures
from kopt.run.final import final_figures
from kopt.simplify.search import Ancestor, Judgement, Simplified, Trial, simplify
from kopt.store import Store
from kopt.winner.simplified import SimplifiedKernel, problem_digest

if TYPE_CHECKING:
    from kopt.run.so_far import RunSoFar

SLOWER = 1.02
"""Ratio to the kernel's time above which a measured simplification is slower, also where the interval holds 1."""
EQUAL = 1 + 1e-9
"""Ratio to the kernel's time up to which an estimate counts as equal."""


class Simplification(Value):
    """The answer of `kopt simplify`."""

    run: str
    kernel: str
    """Name of the kernel that was simplified."""
    path: str
    """The file that was written; empty where nothing could be simplified."""
    estimated: bool
    """Whether times are estimated, so that nothing was timed."""
    lines: int
    """Lines of the kernel's source."""
    simplified_lines: int
    before_ms: float
    after_ms: float
    ratio: float
    """Time of the simplified kernel over the kernel's, under 1 is faster."""
    trials: tuple[Trial, ...]
    untried: int
    """Parts that were not tried, since `--trials` was spent."""
    source: str


@dataclass
class Bench:
    """The judge that all trials of one kernel share."""

    request: EvaluateRequest
    """Request for the kernel that is simplified."""
    device: Device
    store: Store
    """Keeps what is built, for the time of the command."""
    on_gpu: bool
    limit_ms: float = math.inf
    """Estimated time of the kernel that is simplified, ms."""
    seed: Estimated | None = None
    """Estimated time of the problem's seed kernel, once it is known."""
    passed: dict[str, Evaluated] = field(default_factory=dict)
    """Results of evaluations without a GPU, by text of the kernel: those that passed, with the seed kernel's time."""

    def whole(self, source: str) -> Evaluated:
        """Evaluate a text as `kopt evaluate` does, beside the problem's seed kernel."""
        request = self._request(source)
        if self.on_gpu:
            return evaluate_on_gpu(request, self.device, self.store)
        if source not in self.passed:
            build, timing, self.seed = estimate_without_gpu(request, self.device, self.store)
            self.limit_ms = timing.objective_ms if timing else math.inf
            return judge_without_gpu(request, build, timing, self.seed, self.device)
        return self.passed[source]

    def judge(self, source: str) -> Judgement:
        """Judge a text against the kernel that is simplified, which `whole` has evaluated."""
        return self._judge_on_gpu(source) if self.on_gpu else self._judge_by_estimate(source)

    def _request(self, source: str) -> EvaluateRequest:
        return self.request.model_copy(update={"kernel": self.request.kernel.with_source(source)})

    def _judge_on_gpu(self, source: str) -> Judgement:
        """Race a text with the kernel that is simplified, in the place of the seed kernel."""
        request = self._request(source)
        problem = request.problem.model_copy(update={"seed": self.request.kernel})
        found = evaluate_on_gpu(request.model_copy(update={"problem": problem}), self.device, self.store)
        if found.status != "passed" or found.time is None or found.time.ratio is None:
            return Judgement(outcome="wrong", reason=_reason(found))
        time, low, high = found.time, found.time.ratio_low, found.time.ratio_high
        interval = (low, high) if low is not None and high is not None else None
        slower = found.time.ratio > SLOWER or (low is not None and low > 1)
        return Judgement(outcome="slower" if slower else "kept", ms=time.ms, ratio=time.ratio, interval=interval)

    def _judge_by_estimate(self, source: str) -> Judgement:
        """Estimate a text's time; only where it is not above the kernel's, verify it."""
        request = self._request(source)
        alone = request.problem.model_copy(update={"seed": request.problem.seed.with_source("")})
        request = request.model_copy(update={"problem": alone})
        build, timing, _ = estimate_without_gpu(request, self.device, self.store)
        ms = timing.objective_ms if timing else None
        if ms is not None and ms > self.limit_ms * EQUAL:
            return Judgement(outcome="slower", ms=ms, ratio=ms / self.limit_ms)
        found = judge_without_gpu(request, build, timing, self.seed, self.device)
        if found.status != "passed" or ms is None:
            return Judgement(outcome="wrong", reason=_reason(found))
        self.passed[source] = found
        return Judgement(outcome="kept", ms=ms, ratio=ms / self.limit_ms)


def lineage_of(candidate: Candidate, run: RunSoFar, store: Store) -> list[Ancestor]:
    """Read the sources of a kernel and of its ancestors, the seed kernel first.

    Raises:
        StoreError: a source is not in the store, or no longer.
    """
    steps = [step.trial for step in chain(run.trials, candidate.name)]
    return [
        Ancestor(name=one.name, description=one.description, source=kernel_source(one.kernel, store)) for one in steps
    ]


def simplified(
    bench: Bench, lineage: list[Ancestor], *, most: int, say: Callable[[str], None]
) -> tuple[Evaluated, Simplified, Evaluated]:
    """Simplify a kernel; return what the judge says of it, the simplified kernel, and what the judge says of that.

    Args:
        bench: judges it.
        lineage: the kernel's ancestors, the seed kernel first, and the kernel itself last.
        most: most trials.
        say: is given a line for each trial.

    Raises:
        ConfigError: the kernel, or the simplified one, does not pass now.
    """
    kernel = lineage[-1]
    before = _passed(bench.whole(kernel.source), kernel.name)
    assert before.time is not None
    estimated = before.time.kind == "estimated"
    say(f"{'':<8} {kernel.name} as it is: {time_text(before.time.ms, estimated)}, {_lines(kernel.source)} lines")
    entry = bench.request.kernel.entry
    found = simplify(lineage, entry, bench.judge, most=most, on_trial=lambda trial: say(trial_line(trial, estimated)))
    after = before
    if found.source != kernel.source:
        after = _passed(bench.whole(found.source), f"{kernel.name}, simplified,")
    return before, found, after


def _passed(found: Evaluated, name: str) -> Evaluated:
    if found.status != "passed" or found.time is None:
        raise ConfigError(
            f"{name} does not pass when it is judged here, so that nothing can be simplified: {_reason(found)}"
        )
    return found


def trial_line(trial: Trial, estimated: bool) -> str:
    """Describe a trial on one line."""
    figures = []
    if trial.ms is not None:
        figures.append(time_text(trial.ms, estimated))
    if trial.ratio is not None:
        low_high = f" [{trial.interval[0]:.3f}, {trial.interval[1]:.3f}]" if trial.interval else ""
        figures.append(f"{trial.ratio:.4f}x the time{low_high}")
    if trial.reason:
        figures.append(short_reason(trial.reason, 160))
    if trial.outcome != "not possible":
        figures.append(f"{trial.lines} lines")
    outcome = {"kept": "undone" if trial.kind in ("step", "part") else "removed", "slower": "it pays"}
    label = outcome.get(trial.outcome, trial.outcome)
    return f"{label:<12} {one_line(trial.what, 200).removeprefix(f'{label} ')} ({', '.join(figures)})"


def result_lines(answer: Simplification) -> list[str]:
    """Describe the simplified kernel in a few lines."""
    more = [f"{answer.untried} parts were not tried: --trials sets how many are"] if answer.untried else []
    if not answer.path:
        return [f"nothing could be simplified: every part of {answer.kernel} pays or is needed", *more]
    lines = f"{answer.simplified_lines} lines of code and comments, {answer.lines} before"
    how = "estimated, nothing was timed" if answer.estimated else "measured"
    times = f"{time_text(answer.after_ms, answer.estimated)}, {time_text(answer.before_ms, answer.estimated)} before"
    return [
        f"{answer.path}: {lines}",
        f"time {times}, {answer.ratio:.4f}x ({how})",
        *more,
        _use(answer.path, answer.run),
    ]


def _use(path: str, run: str) -> str:
    quoted = shlex.quote(path)
    return f"python {quoted} checks and times it on a GPU; kopt export {shlex.quote(run)} --kernel {quoted} exports it"


def simplified_kernel(run: RunSoFar, candidate: Candidate, found: Simplified, after: Evaluated) -> SimplifiedKernel:
    """Describe the simplified kernel for the head of its file, and for its export."""
    assert run.run is not None
    steps = tuple((step.trial.model, step.trial.description) for step in chain(run.trials, candidate.name)[1:])
    undone = "; ".join(one_line(trial.what, 120) for trial in found.trials if trial.outcome == "kept")
    return SimplifiedKernel(
        source=found.source,
        name=f"{candidate.name}, simplified",
        steps=(*steps, ("kopt simplify", f"undone or removed, since it does not pay: {undone}")),
        judge=after.judged_by,
        checks=len(after.checks) or None,
        figures=_figures(final_figures(run.run), candidate, after),
        device=after.device,
        problem=problem_digest(run.run.problem),
    )


def _figures(figures: FinalFigures, candidate: Candidate, after: Evaluated) -> FinalFigures:
    """Return the figures of a kernel that was evaluated alone: those of the run hold for another kernel."""
    time = after.time
    assert time is not None
    estimated = time.kind == "estimated"
    speedup = 1 / time.ratio if time.ratio else figures.seed_ms / time.ms
    against: tuple[Comparison, ...] = ()
    if not estimated and time.ratio and time.ratio_low and time.ratio_high:
        seed = Comparison(
            name="seed", ms=time.ms * speedup, speedup=speedup, low=1 / time.ratio_high, high=1 / time.ratio_low
        )
        against = (seed,)
    lows = [one.low_ms for one in time.workloads if one.low_ms is not None]
    highs = [one.high_ms for one in time.workloads if one.high_ms is not None]
    return FinalFigures(
        best_name=candidate.name, description=candidate.description, best_ms=time.ms, seed_ms=time.ms * speedup,
        speedup=speedup, against=against, workloads={} if estimated else {w.workload: w.ms for w in time.workloads},
        eager_ms=figures.eager_ms if estimated and figures.estimated else None,
        interval=(mean_over(time.workloads, lows), mean_over(time.workloads, highs)) if lows and highs else None,
        estimated=estimated, roofline_share=time.roofline_share,
    )  # fmt: skip


def _reason(found: Evaluated) -> str:
    return f"{found.phase or found.status}: {short_reason(found.reason, 300)}"


def _lines(source: str) -> int:
    return len(source.splitlines())


def answer_of(
    run: RunSoFar, candidate: Candidate, path: Path | None, result: tuple[Evaluated, Simplified, Evaluated],
    source: str,
) -> Simplification:  # fmt: skip
    """Put the answer together.

    Args:
        run: the run.
        candidate: the kernel that was simplified.
        path: the file that was written, if any.
        result: what `simplified` returned.
        source: the kernel's source.
    """
    before, found, after = result
    assert before.time is not None
    assert after.time is not None
    kept = [trial.ratio for trial in found.trials if trial.outcome == "kept" and trial.ratio is not None]
    measured = before.time.kind == "measured"
    return Simplification(
        run=str(run.folder), kernel=candidate.name, path=str(path or ""), estimated=not measured,
        lines=_lines(source), simplified_lines=_lines(found.source), before_ms=before.time.ms,
        after_ms=after.time.ms, ratio=kept[-1] if kept and measured else after.time.ms / before.time.ms,
        trials=found.trials, untried=found.untried, source=found.source,
    )  # fmt: skip
