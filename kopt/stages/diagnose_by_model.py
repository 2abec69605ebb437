"""Diagnose parents by a language model: ask for directions, and add directions of the rules where some are missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.llm.reply import Reply
from kopt.llm.text.json_reply import NotRead, value_of
from kopt.model.diagnosis import Diagnosis
from kopt.prompts import diagnose as prompting

log = logging.getLogger(__name__)


def diagnose_by_model(
    by_rules: Sequence[Diagnosis], briefing: Briefing, asker: Asker, *, model: str, count: int
) -> list[Diagnosis]:
    """Ask a language model for a diagnosis, one call for each parent; without a model return the rules' diagnoses.

    Directions of the rules are added to a reply that names too few.  Where a reply cannot be used, the result is the
    rules' diagnosis, whose `source` gives the reason.

    Args:
        by_rules: the rules' diagnosis for each place of the selection.
        briefing: the briefing of the round.
        asker: asks the model.
        model: name of the model; empty for none.
        count: directions for each parent.
    """
    if not model or briefing.over:
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
    """Merge the model's directions with those of the rules, the model's first, and rank them anew."""
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
