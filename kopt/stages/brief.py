"""Stage `brief`: collect once, after a round's selection, what the next round's prompts may say.

A briefing holds the new parents with their times, builds and profiles, the recent tries, the sets of techniques in the
pool, and the lessons that a language model drew from the last rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from kopt.estimate.eager import eager_ms
from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.jobs.kernels import kernel_named
from kopt.jobs.recorded import told_build
from kopt.llm.text.json_reply import NotRead, value_of
from kopt.model.asking import Asking
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import ParentProfile, Profile
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.timing import Finals, mean_over, times_by_workload
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, SelectionRow, TechniqueRow
from kopt.prompts import reflect as reflecting
from kopt.prompts.context import Event, Memory, Parent, ParentTimes, PromptContext, Reflection, Share, WorkloadTimes
from kopt.roofline import floor_ms
from kopt.run.tables import Round
from kopt.store import Store

log = logging.getLogger(__name__)

EVENTS, LESSONS, SHARES = 60, 4, 12
"""Most tries, rounds of lessons and sets of techniques that a briefing keeps; prompts may show fewer."""

SAME = 0.01
"""Times that differ by less than this share count as the same in the history."""


class BriefSettings(Value):
    """Settings of the rule brief."""

    backend: str
    reflector: str
    """Language model that draws lessons from rounds; empty when none does."""
    asking: Asking | None
    """Source and limits of replies; None in a run without language models."""


def prompt_context(
    problem: Problem, facts: ProblemFacts, device: Device, techniques: Sequence[Technique], triton: str
) -> PromptContext:
    """Collect what all prompts of a run share."""
    return PromptContext(problem=problem, facts=facts, device=device, triton=triton, techniques=tuple(techniques))


def memory_before(briefing: Briefing | None = None) -> Memory:
    """Return the memory of the previous round's briefing; empty before the first briefing."""
    return briefing.memory if briefing else Memory()


def brief(
    round: Round,
    context: PromptContext,
    *,
    parents: Sequence[SelectionRow],
    profiles: Sequence[ParentProfile],
    baseline: Finals | None,
    before: Memory,
    reflector: str,
    asker: Asker,
    store: Store,
) -> Briefing:
    """Make the briefing after a round.

    Args:
        round: the round that just ended.
        context: the values that all prompts of the run share.
        parents: the selection that the round's candidates come from; empty for the seed's round.
        profiles: the profiles of the round's own selection, one for each place.
        baseline: measured times of the baselines; None without a GPU.
        before: the memory of the previous round's briefing.
        reflector: language model that draws lessons; empty for none.
        asker: asks the reflector.
        store: holds sources and builds of the selection.
    """
    profile_of = {profile.kernel: profile.profile for profile in profiles}
    next_parents = tuple(
        Parent(
            kernel=kernel_named(row.kernel, context.problem, store),
            times=_times(row, round, context, baseline, profile_of.get(row.kernel)),
            build=told_build(row.build, store) if row.build else None,
            profile=profile_of.get(row.kernel),
            techniques=row.techniques,
        )
        for row in round.selection
    )
    over = round.summary.stopped is not None
    events = history(round, parents)
    memory = before.model_copy(update={"pool": shares(round.tables.pool, round.tables.techniques)})
    lessons = before.reflections
    if reflector and events and not over:
        best = next_parents[0].times
        lessons = (*_reflection(round.summary.round, context, best, events, memory, reflector, asker), *lessons)
    memory = memory.model_copy(update={"events": (*events, *before.events)[:EVENTS], "reflections": lessons[:LESSONS]})
    return Briefing(round=round.summary.round, context=context, parents=next_parents, memory=memory, over=over)


def history(round: Round, parents: Sequence[SelectionRow]) -> tuple[Event, ...]:
    """List the tries of a round for the history, best first; the seed's round has none.

    Args:
        round: the round.
        parents: the selection that its candidates come from.
    """
    if not parents:
        return ()
    tables = round.tables
    builds = {(row.attempt, row.slot): row for row in tables.builds}
    evaluations = {(row.attempt, row.slot): row for row in tables.evaluations}
    techniques = {row.kernel: row.techniques for row in tables.techniques}
    parent_ms = {row.kernel: row.time_ms for row in parents}
    events = [
        _event(
            candidate,
            builds.get((candidate.attempt, candidate.slot)),
            evaluations.get((candidate.attempt, candidate.slot)),
            techniques,
            parent_ms.get(candidate.parent),
        )
        for candidate in tables.candidates
        if candidate.kernel or candidate.request
    ]
    return tuple(sorted(events, key=lambda event: (event.ms is None, event.ms or 0.0, event.name)))


def shares(pool: Sequence[RankRow], techniques: Sequence[TechniqueRow]) -> tuple[Share, ...]:
    """List the sets of techniques in the pool, the one with the fastest kernel first."""
    ms = {row.kernel: row.time_ms for row in reversed(pool)}
    times_of: dict[tuple[str, ...], list[float]] = {}
    for row in techniques:
        if row.classified and row.kernel in ms:
            times_of.setdefault(row.techniques, []).append(ms[row.kernel])
    sets = [Share(techniques=names, kernels=len(times), best_ms=min(times)) for names, times in times_of.items()]
    return tuple(sorted(sets, key=lambda share: (share.best_ms, share.techniques))[:SHARES])


def _event(
    candidate: Candidate,
    build: BuildRow | None,
    evaluation: EvaluationRow | None,
    techniques: Mapping[str, tuple[str, ...]],
    parent_ms: float | None,
) -> Event:
    outcome, reason = _outcome(candidate, build, evaluation, parent_ms)
    ms = evaluation.time_ms if evaluation else None
    return Event(
        name=candidate.name,
        model=candidate.model,
        description=candidate.description,
        techniques=techniques.get(candidate.kernel, ()),
        outcome=outcome,
        ms=ms,
        ratio=ms / parent_ms if ms and parent_ms else None,
        reason=" ".join(reason.split())[:200],
    )


def _outcome(
    candidate: Candidate, build: BuildRow | None, evaluation: EvaluationRow | None, parent_ms: float | None
) -> tuple[str, str]:
    """Name the outcome of a candidate in a word or two, and give the reason."""
    if build is None or not candidate.kernel:
        return "no kernel", candidate.reason
    if build.duplicate_of:
        return "duplicate", f"the same kernel as {build.duplicate_of}"
    if evaluation is None:
        return "failed", build.reason
    if evaluation.time_ms is None:
        return evaluation.verdict, evaluation.reason
    return _compared(evaluation.time_ms, parent_ms), ""


def _compared(ms: float, parent_ms: float | None) -> str:
    if parent_ms is None or abs(ms / parent_ms - 1) < SAME:
        return "same"
    return "faster" if ms < parent_ms else "slower"


def _times(
    row: SelectionRow, round: Round, context: PromptContext, baseline: Finals | None, profile: Profile | None
) -> ParentTimes:
    eager, compiled = _baseline_ms(baseline)
    if row.estimated:
        eager = eager_ms(context.facts, context.device) or eager
    return ParentTimes(
        ms=row.time_ms,
        low_ms=row.low_ms,
        high_ms=row.high_ms,
        estimated=row.estimated,
        floor_ms=row.time_ms * row.roofline_share,
        roofline_share=row.roofline_share,
        eager_ms=eager,
        compile_ms=compiled,
        best_ms=round.summary.best_ms,
        seed_ms=round.summary.seed_ms,
        workloads=workload_times(row, context, baseline, profile),
    )


def workload_times(
    row: SelectionRow, context: PromptContext, baseline: Finals | None, profile: Profile | None
) -> tuple[WorkloadTimes, ...]:
    """List a kernel's times on each workload, those of its profile, scaled so that their mean is the row's time.

    The row's time may be a later measurement than the profile's.
    """
    known = context.facts.workloads
    own = profile.times_ms if profile is not None else {}
    if not known or not all(own.get(each.workload, 0.0) > 0 for each in known):
        return ()
    scale = row.time_ms / mean_over(known, [own[each.workload] for each in known])
    others = {} if row.estimated or baseline is None else {
        name: times_by_workload(timing) for name, timing in baseline.timings.items()
    }  # fmt: skip
    times = []
    for each in known:
        compiled = [ms for name in ("compile", "max-autotune") if (ms := others.get(name, {}).get(each.workload))]
        times.append(
            WorkloadTimes(
                workload=each.workload,
                ms=own[each.workload] * scale,
                eager_ms=others.get("eager", {}).get(each.workload),
                compile_ms=min(compiled, default=None),
                floor_ms=floor_ms(each, context.device, context.facts.dtype),
            )
        )
    return tuple(times)


def _baseline_ms(baseline: Finals | None) -> tuple[float | None, float | None]:
    """Return the times of eager and of the faster mode of `torch.compile`, ms; None where they were not measured."""
    ms = {name: timing.objective_ms for name, timing in baseline.timings.items()} if baseline else {}
    compiled = [ms[name] for name in ("compile", "max-autotune") if name in ms]
    return ms.get("eager"), min(compiled, default=None)


def _reflection(
    round: int,
    context: PromptContext,
    best: ParentTimes,
    events: Sequence[Event],
    memory: Memory,
    reflector: str,
    asker: Asker,
) -> tuple[Reflection, ...]:
    """Ask for the lessons of the round; empty when the reply cannot be used."""
    label = f"r{round}reflect"
    request = asker.request(reflector, reflecting.reflect(context, round, events, best, memory))
    answer = value_of(asker.ask({label: request})[label], reflecting.Answer)
    if isinstance(answer, NotRead):
        log.warning("round %d: no lessons from %s (%s: %s)", round, reflector, answer.reason, answer.detail)
        return ()
    return (reflecting.reflection(answer, round),)
