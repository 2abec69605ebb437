"""Stage brief: what the next round's prompts may tell, brought together once after a round's selection.

It holds the parents with all that is known of them, the recent tries, the pool's techniques, and the lessons that a
language model drew from the round.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kopt.estimate.eager import eager_ms
from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.jobs.keys import KERNEL
from kopt.llm.json_reply import NotRead, value_of
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.kernel import Candidate, Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.timing import Finals
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow
from kopt.prompts import reflect as reflecting
from kopt.prompts.context import Event, Memory, Parent, ParentTimes, PromptContext, Reflection, Share
from kopt.stages.compile import toolchain
from kopt.stages.evaluate import built_named
from kopt.stages.profile import ParentProfile
from kopt.store import Store

log = logging.getLogger(__name__)

EVENTS, LESSONS, SHARES = 60, 4, 12
"""Tries, rounds of lessons and sets of techniques that are remembered; prompts may show fewer."""

SAME = 0.01
"""Times that differ by less than this share count as the same in the history."""


@dataclass(frozen=True)
class Round:
    """The tables of one round, all attempts together, and the selection before it."""

    summary: RoundSummary
    candidates: Sequence[Candidate]
    builds: Sequence[BuildRow]
    evaluations: Sequence[EvaluationRow]
    pool: Sequence[RankRow]
    techniques: Sequence[TechniqueRow]
    selection: Sequence[SelectionRow]
    parents: Sequence[SelectionRow]
    """The selection that the round's candidates come from; empty for the seed's round."""
    baseline: Finals | None = None
    """What the run is compared to, measured; None without a GPU."""

    @property
    def over(self) -> bool:
        """Whether the search has ended."""
        return self.summary.stopped is not None


def setting_of(problem: Problem, facts: ProblemFacts, device: Device, techniques: Sequence[Technique]) -> PromptContext:
    """What all prompts of a run share."""
    return PromptContext(
        problem=problem, facts=facts, device=device, triton=toolchain(device).triton, techniques=tuple(techniques)
    )


def memory_before(briefing: Briefing | None) -> Memory:
    """What the briefing of the round before remembers; nothing before the first."""
    return briefing.memory if briefing else Memory()


def brief(
    round: Round,
    setting: PromptContext,
    profiles: Sequence[ParentProfile],
    *,
    before: Memory,
    reflector: str,
    asker: Asker | None,
    store: Store,
) -> Briefing:
    """The briefing after a round.

    Args:
        round: its tables.
        setting: the run's setting.
        profiles: of the selection's places.
        before: what was remembered before the round.
        reflector: language model that draws lessons, or nothing.
        asker: who asks it.
        store: the run's store.
    """
    seen = {profile.kernel: profile.profile for profile in profiles}
    parents = tuple(_parent(row, seen.get(row.kernel), round, setting, store) for row in round.selection)
    events = history(round)
    memory = before.model_copy(update={"pool": shares(round.pool, round.techniques)})
    lessons = before.reflections
    if reflector and asker and events and not round.over:
        lessons = (*_reflection(round, setting, parents[0].standing, events, memory, reflector, asker), *lessons)
    memory = memory.model_copy(update={"events": (*events, *before.events)[:EVENTS], "reflections": lessons[:LESSONS]})
    return Briefing(round=round.summary.round, setting=setting, parents=parents, memory=memory, over=round.over)


def history(round: Round) -> tuple[Event, ...]:
    """The tries of a round as the history tells them, best first; the seed is no try."""
    if not round.parents:
        return ()
    tell = _Teller(round)
    events = [tell.event(c) for c in round.candidates if c.kernel or c.request]
    return tuple(sorted(events, key=lambda event: (event.ms is None, event.ms or 0.0, event.name)))


def shares(pool: Sequence[RankRow], techniques: Sequence[TechniqueRow]) -> tuple[Share, ...]:
    """Sets of techniques that the pool holds, fastest first."""
    ms = {row.kernel: row.time_ms for row in reversed(pool)}
    sets: dict[tuple[str, ...], list[float]] = {}
    for row in techniques:
        if row.classified and row.kernel in ms:
            sets.setdefault(row.techniques, []).append(ms[row.kernel])
    found = [Share(techniques=names, kernels=len(times), best_ms=min(times)) for names, times in sets.items()]
    return tuple(sorted(found, key=lambda share: (share.best_ms, share.techniques))[:SHARES])


class _Teller:
    """Tells what became of a round's candidates."""

    def __init__(self, round: Round) -> None:
        self.builds = {(row.attempt, row.slot): row for row in round.builds}
        self.evaluations = {(row.attempt, row.slot): row for row in round.evaluations}
        self.techniques = {row.kernel: row.techniques for row in round.techniques}
        self.parent_ms = {row.kernel: row.time_ms for row in round.parents}

    def event(self, candidate: Candidate) -> Event:
        place = (candidate.attempt, candidate.slot)
        outcome, reason = self._outcome(candidate, self.builds.get(place), self.evaluations.get(place))
        ms = judged.time_ms if (judged := self.evaluations.get(place)) else None
        parent_ms = self.parent_ms.get(candidate.parent)
        return Event(
            name=candidate.name,
            model=candidate.model,
            description=candidate.description,
            techniques=self.techniques.get(candidate.kernel, ()),
            outcome=outcome,
            ms=ms,
            ratio=ms / parent_ms if ms and parent_ms else None,
            reason=" ".join(reason.split())[:200],
        )

    def _outcome(self, candidate: Candidate, build: BuildRow | None, judged: EvaluationRow | None) -> tuple[str, str]:
        if build is None or not candidate.kernel:
            return "no kernel", candidate.reason
        if build.duplicate_of:
            return "duplicate", f"the same kernel as {build.duplicate_of}"
        if judged is None or judged.time_ms is None:
            return (judged.verdict, judged.reason) if judged else ("failed", build.reason)
        return _against(judged.time_ms, self.parent_ms.get(candidate.parent)), ""


def _against(ms: float, parent_ms: float | None) -> str:
    if parent_ms is None or abs(ms / parent_ms - 1) < SAME:
        return "same"
    return "faster" if ms < parent_ms else "slower"


def _parent(row: SelectionRow, profile: Profile | None, round: Round, setting: PromptContext, store: Store) -> Parent:
    return Parent(
        kernel=Kernel(source=store.text(KERNEL, row.kernel, ".py"), entry=setting.problem.seed.entry),
        standing=_standing(row, round, setting),
        build=built_named(row.build, store) if row.build else None,
        profile=profile,
        techniques=row.techniques,
    )


def _standing(row: SelectionRow, round: Round, setting: PromptContext) -> ParentTimes:
    summary = round.summary
    eager, compiled = _baselines(round.baseline)
    if row.estimated:
        eager = eager_ms(setting.facts, setting.device) or eager
    return ParentTimes(
        ms=row.time_ms,
        low_ms=row.low_ms,
        high_ms=row.high_ms,
        estimated=row.estimated,
        floor_ms=row.time_ms * row.roofline_share,
        roofline_share=row.roofline_share,
        eager_ms=eager,
        compile_ms=compiled,
        best_ms=summary.best_ms,
        seed_ms=summary.seed_ms,
    )


def _baselines(measured: Finals | None) -> tuple[float | None, float | None]:
    """Times of eager and of the better mode of `torch.compile`, ms; None where they were not measured."""
    ms = {name: one.objective_ms for name, one in measured.timings.items()} if measured else {}
    compiled = [ms[name] for name in ("compile", "max-autotune") if name in ms]
    return ms.get("eager"), min(compiled, default=None)


def _reflection(
    round: Round,
    setting: PromptContext,
    best: ParentTimes,
    events: Sequence[Event],
    memory: Memory,
    reflector: str,
    asker: Asker,
) -> tuple[Reflection, ...]:
    """What a language model learned from the round; nothing when its reply cannot be used."""
    number = round.summary.round
    label = f"r{number}reflect"
    request = asker.request(reflector, reflecting.reflect(setting, number, events, best, memory))
    answer = value_of(asker.ask({label: request})[label], reflecting.Answer)
    if isinstance(answer, NotRead):
        log.warning("round %d: no lessons from %s (%s: %s)", number, reflector, answer.reason, answer.detail)
        return ()
    return (reflecting.reflection(answer, number),)
