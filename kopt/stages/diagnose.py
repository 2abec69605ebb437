"""Stage diagnose: ranked, different directions for each parent; the next round's slots follow them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.llm.json_reply import NotRead, value_of
from kopt.llm.reply import Reply
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction, Profile
from kopt.model.problem import ProblemFacts
from kopt.model.trial import SelectionRow
from kopt.prompts import diagnose as prompting
from kopt.search.diagnose import diagnose
from kopt.stages.evaluate import built_named
from kopt.stages.profile import ParentProfile
from kopt.store import Store

log = logging.getLogger(__name__)

Diagnose = Callable[[SelectionRow, Profile | None], Diagnosis]

EMPTY = Diagnosis(kernel="", source="none", directions=())
"""The diagnosis of a place without a parent."""


def diagnose_parents(
    parents: Sequence[SelectionRow], profiles: Sequence[ParentProfile], *, diagnoser: Diagnose
) -> list[Diagnosis]:
    """Diagnose each place of the selection, in order; there are as many places as profiles."""
    diagnoses = [diagnoser(row, profile.profile) for row, profile in zip(parents, profiles, strict=False)]
    return diagnoses + [EMPTY] * (len(profiles) - len(diagnoses))


def diagnoser(judge: str, facts: ProblemFacts, device: Device, store: Store, *, count: int) -> Diagnose:
    """Return how parents are diagnosed: by rules, or with numbered made-up directions by the dry judge.

    Args:
        judge: the run's.
        facts: of the problem's main workloads.
        device: what times hold for.
        store: has the parents' builds.
        count: directions for each parent.
    """

    def by_rules(row: SelectionRow, profile: Profile | None) -> Diagnosis:
        assert profile is not None
        built = built_named(row.build, store)
        return diagnose(row.kernel, profile, built, row.techniques, facts, device, count)

    return _dry(count) if judge == "dry" else by_rules


def diagnose_by_model(
    by_rules: Sequence[Diagnosis], briefing: Briefing | None, asker: Asker | None, *, model: str, count: int
) -> list[Diagnosis]:
    """Ask a language model to diagnose, one call for each parent; where no model is asked, the rules' diagnoses stay.

    The rules' directions fill up a reply that names too few.  Where a reply cannot be used, the rules' diagnosis stays
    and says so.

    Args:
        by_rules: the rules' diagnoses, of each place of the selection.
        briefing: of the round; None in a run without language models.
        asker: asks the model; None in a run without language models.
        model: name of the model, or nothing.
        count: directions for each parent.
    """
    if not model or briefing is None or asker is None or briefing.over:
        return list(by_rules)
    names = tuple(technique.name for technique in briefing.context.techniques)
    requests = {
        f"r{briefing.round}d{place}": asker.request(
            model, prompting.diagnose(briefing.context, parent, briefing.memory, count)
        )
        for place, parent in enumerate(briefing.parents)
    }
    replies = list(asker.ask(requests).values())
    merged = [_merged(rules, reply, model, names) for rules, reply in zip(by_rules, replies, strict=False)]
    return merged + list(by_rules[len(merged) :])


def _merged(rules: Diagnosis, reply: Reply, model: str, techniques: tuple[str, ...]) -> Diagnosis:
    """The model's directions, filled up by the rules' and ranked anew."""
    count = len(rules.directions)
    answer = value_of(reply, prompting.Answer)
    directions = () if isinstance(answer, NotRead) else prompting.directions(answer, count, techniques)
    if not directions:
        why = answer.detail if isinstance(answer, NotRead) else "it names no direction"
        log.warning("parent %s: rules diagnose, the reply of %s cannot be used: %s", rules.kernel[:12], model, why)
        return rules.model_copy(update={"source": f"rules, since the reply of {model} cannot be used: {why}"})
    named = {direction.bottleneck for direction in directions}
    rest = [direction for direction in rules.directions if direction.bottleneck not in named]
    ranked = [d.model_copy(update={"rank": rank}) for rank, d in enumerate((*directions, *rest)[:count], start=1)]
    return Diagnosis(kernel=rules.kernel, source=model, directions=tuple(ranked))


def _dry(count: int) -> Diagnose:
    directions = tuple(
        Direction(rank=rank, bottleneck=f"dry_{rank}", cause="none: a dry run", direction="none: a dry run")
        for rank in range(1, count + 1)
    )
    return lambda row, profile: Diagnosis(kernel=row.kernel, source="dry", directions=directions)
