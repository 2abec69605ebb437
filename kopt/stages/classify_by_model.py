"""Technique vectors by a language model: of all techniques, or of those that facts of source and PTX cannot prove.

Where facts and the model were both asked, their agreement is counted by technique.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kopt.artifact import read_value, write_value
from kopt.jobs.asker import Asker, asker_of
from kopt.jobs.command import Job
from kopt.jobs.keys import KERNEL, VectorKey
from kopt.llm.json_reply import NotRead, flags_of, object_of
from kopt.llm.reply import Reply
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, TechniqueRow
from kopt.prompts import classify as prompting
from kopt.prompts.sections import Prompt
from kopt.provenance import code_digest
from kopt.stages.classify import Vectors
from kopt.stages.evaluate import built_named
from kopt.techniques.static import is_provable
from kopt.techniques.taxonomy import load, taxonomy_digest

log = logging.getLogger(__name__)


class Counts(Value):
    """What facts and a language model said of one technique, in kernels."""

    agreed: int = 0
    facts_only: int = 0
    """Facts saw it and the model did not."""
    model_only: int = 0
    """The model saw it and facts did not."""


class Agreement(Value):
    """How far facts and a language model agreed on the kernels that a round classified, by technique."""

    model: str
    techniques: dict[str, Counts]


@dataclass(frozen=True)
class ModelClassifier:
    """A language model as classifier."""

    model: str
    asker: Asker
    taxonomy: Sequence[Technique]
    device: Device
    round: int
    facts: Vectors | None
    """The static classifier, for what it can prove; None when the model decides all."""

    def vectors(self, rows: Sequence[RankRow]) -> dict[str, TechniqueVector | None]:
        """The vector of each kernel; None where the model's reply cannot be used."""
        known = self.facts(rows) if self.facts else {}
        asked = {row.kernel: self.asker.request(self.model, self._prompt(row, known.get(row.kernel))) for row in rows}
        labels = {row.kernel: f"r{self.round}c{place}" for place, row in enumerate(rows)}
        replies = self.asker.ask({labels[kernel]: request for kernel, request in asked.items()})
        return {
            row.kernel: self._vector(row, known.get(row.kernel), replies[labels[row.kernel]], asked[row.kernel].digest)
            for row in rows
        }

    def agreement(self, rows: Sequence[TechniqueRow], pool: Sequence[RankRow]) -> Agreement:
        """Counts over the newly classified kernels, of the techniques that the model was asked about."""
        new = {row.kernel: set(row.techniques) for row in rows if row.new and row.classified}
        facts = self.facts([row for row in pool if row.kernel in new]) if self.facts else {}
        pairs = [(set(seen.techniques), told) for kernel, told in new.items() if (seen := facts.get(kernel))]
        names = [t.name for t in self.taxonomy if t.name not in self._decided(None)]
        return Agreement(model=self.model, techniques={name: _counts(name, pairs) for name in names})

    def _decided(self, known: TechniqueVector | None) -> dict[str, bool]:
        """What facts prove, by technique; its names are the same for every kernel."""
        held = known.techniques if known else ()
        return {t.name: t.name in held for t in self.taxonomy if self.facts and is_provable(t.name)}

    def _prompt(self, row: RankRow, known: TechniqueVector | None) -> Prompt:
        decided = self._decided(known)
        return prompting.classify(
            self.asker.store.text(KERNEL, row.kernel, ".py"),
            [technique for technique in self.taxonomy if technique.name not in decided],
            decided=decided,
            build=built_named(row.build, self.asker.store),
            device=self.device,
        )

    def _vector(
        self, row: RankRow, known: TechniqueVector | None, reply: Reply, request: str
    ) -> TechniqueVector | None:
        decided = self._decided(known)
        told = flags_of(reply, [t.name for t in self.taxonomy if t.name not in decided])
        if isinstance(told, NotRead):
            log.warning("kernel %s is not classified by %s: %s", row.kernel[:12], self.model, told.detail)
            return None
        held = dict.fromkeys(known.techniques if known else (), True) | told | decided
        source = self.asker.store.text(KERNEL, row.kernel, ".py")
        seen = [one for one in (known.evidence if known else ()) if decided.get(one.technique)]
        answer = object_of(reply)
        seen += prompting.evidence({} if isinstance(answer, NotRead) else answer.value, told, source)
        vector = TechniqueVector(
            taxonomy=taxonomy_digest(self.taxonomy),
            techniques=tuple(t.name for t in self.taxonomy if held.get(t.name)),
            evidence=tuple(seen),
            classifier=f"both: {self.model}" if self.facts else self.model,
        )
        return self.asker.store.shelf(TechniqueVector).put(self._key(row, vector, request), vector)

    def _key(self, row: RankRow, vector: TechniqueVector, request: str) -> VectorKey:
        code = code_digest("kopt.techniques.static") + request if self.facts else request
        return VectorKey(
            kernel=row.kernel, build=row.build, taxonomy=vector.taxonomy, classifier=vector.classifier, code=code
        )


def _counts(name: str, pairs: Sequence[tuple[set[str], set[str]]]) -> Counts:
    facts_only = sum(name in facts and name not in told for facts, told in pairs)
    model_only = sum(name not in facts and name in told for facts, told in pairs)
    return Counts(agreed=len(pairs) - facts_only - model_only, facts_only=facts_only, model_only=model_only)


def model_classifier(job: Job, facts: Vectors) -> ModelClassifier | None:
    """The language model that a job's settings name as classifier; None when facts alone classify."""
    if not job.settings.classifier:
        return None
    asker = asker_of(job, concurrency=job.settings.technique_clustering.max_concurrency)
    assert asker is not None
    proves = job.settings.classification == "both" and job.settings.effective_judge != "dry"
    return ModelClassifier(
        model=job.settings.classifier,
        asker=asker,
        taxonomy=load(job.path("taxonomy")),
        device=read_value(job.path("device"), Device),
        round=job.number("round"),
        facts=facts if proves else None,
    )


def vectors_of(chosen: ModelClassifier | None, facts: Vectors) -> Vectors:
    """The classifier of a job: the language model where one was chosen, else facts."""
    return chosen.vectors if chosen else facts


def write_agreement(
    paths: Sequence[Path], chosen: ModelClassifier | None, rows: Sequence[TechniqueRow], pool: Sequence[RankRow]
) -> None:
    """Write how far facts and model agreed; nowhere in a run that asks only one of them."""
    for path in paths:
        assert chosen is not None
        write_value(path, chosen.agreement(rows, pool))
