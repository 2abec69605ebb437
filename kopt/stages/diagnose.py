"""Stage diagnose: ranked, different directions for each parent; the next round's slots follow them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kopt.backends.backend import Diagnoser
from kopt.config import Asking
from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.llm.json_reply import NotRead, value_of
from kopt.llm.reply import Reply
from kopt.model.base import Value
from kopt.model.diagnosis import Diagnosis
from kopt.model.trial import SelectionRow
from kopt.prompts import diagnose as prompting
from kopt.stages.profile import ParentProfile

log = logging.getLogger(__name__)


class DiagnoseSettings(Value):
    """Settings of the rule diagnose."""

    backend: str
    num_bottlenecks: int
    diagnoser: str
    """Language model that diagnoses; empty when rules do."""
    asking: Asking | None
    """How language models are asked; None in a run without them."""


EMPTY = Diagnosis(kernel="", source="none", directions=())
"""The diagnosis of a place without a parent."""


def diagnose_parents(
    parents: Sequence[SelectionRow], profiles: Sequence[ParentProfile], *, diagnoser: Diagnoser
) -> list[Diagnosis]:
    """A diagnosis for each of the selection's places, in order."""
    found = [diagnoser(row, profile.profile) for row, profile in zip(parents, profiles, strict=False)]
    return found + [EMPTY] * (len(profiles) - len(found))


def diagnosed(
    by_rules: Sequence[Diagnosis], briefing: Briefing | None, asker: Asker | None, *, model: str, count: int
) -> list[Diagnosis]:
    """The diagnoses of a language model, one call for each parent; the rules' own where none is asked.

    What a reply lacks in directions is filled up by rules; where it cannot be used, rules have the word and the
    diagnosis says so.
    """
    if not model or briefing is None or asker is None or briefing.over:
        return list(by_rules)
    names = tuple(technique.name for technique in briefing.setting.techniques)
    asked = {
        f"r{briefing.round}d{place}": asker.request(
            model, prompting.diagnose(briefing.setting, parent, briefing.memory, count)
        )
        for place, parent in enumerate(briefing.parents)
    }
    replies = list(asker.ask(asked).values())
    found = [_merged(rules, reply, model, names) for rules, reply in zip(by_rules, replies, strict=False)]
    return found + list(by_rules[len(found) :])


def _merged(rules: Diagnosis, reply: Reply, model: str, techniques: tuple[str, ...]) -> Diagnosis:
    count = len(rules.directions)
    answer = value_of(reply, prompting.Answer)
    told = () if isinstance(answer, NotRead) else prompting.directions(answer, count, techniques)
    if not told:
        why = answer.detail if isinstance(answer, NotRead) else "it names no direction"
        log.warning("parent %s: rules diagnose, the reply of %s cannot be used: %s", rules.kernel[:12], model, why)
        return rules.model_copy(update={"source": f"rules, since the reply of {model} cannot be used: {why}"})
    named = {direction.bottleneck for direction in told}
    rest = [direction for direction in rules.directions if direction.bottleneck not in named]
    ranked = [d.model_copy(update={"rank": rank}) for rank, d in enumerate((*told, *rest)[:count], start=1)]
    return Diagnosis(kernel=rules.kernel, source=model, directions=tuple(ranked))
