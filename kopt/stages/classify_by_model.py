"""Classify kernels by a language model: all techniques, or those that facts of source and PTX cannot prove.

Where facts and a model both classify, the stage counts by technique how often they agree.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kopt.artifact import write_value
from kopt.backends.backend import Classifier
from kopt.jobs.asker import Asker
from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import VectorKey
from kopt.jobs.recorded import told_build
from kopt.llm.reply import Reply
from kopt.llm.text.json_reply import NotRead, flags_of, object_of
from kopt.model.device import Device
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, TechniqueRow
from kopt.prompts import classify as prompting
from kopt.prompts.sections import Prompt
from kopt.provenance import code_digest
from kopt.techniques.agreement import Agreement, agreement
from kopt.techniques.static import is_provable
from kopt.techniques.taxonomy import taxonomy_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelClassifier:
    """A language model as classifier."""

    model: str
    asker: Asker
    taxonomy: Sequence[Technique]
    device: Device
    round: int
    facts: Classifier | None
    """Classifier by facts, for the techniques that facts can prove; None when the model decides all techniques."""

    def vectors(self, rows: Sequence[RankRow]) -> dict[str, TechniqueVector | None]:
        """Return technique vectors of rows of the pool, by kernel; None where the model's reply cannot be used."""
        by_facts = self.facts(rows) if self.facts else {}
        requests = {
            row.kernel: self.asker.request(self.model, self._prompt(row, by_facts.get(row.kernel))) for row in rows
        }
        labels = {row.kernel: f"r{self.round}c{place}" for place, row in enumerate(rows)}
        replies = self.asker.ask({labels[kernel]: request for kernel, request in requests.items()})
        return {
            row.kernel: self._vector(
                row, by_facts.get(row.kernel), replies[labels[row.kernel]], requests[row.kernel].digest
            )
            for row in rows
        }

    def agreement(self, rows: Sequence[TechniqueRow], pool: Sequence[RankRow]) -> Agreement:
        """Count how often facts and the model agree on new kernels, for the techniques that the model decided."""
        by_model = {row.kernel: set(row.techniques) for row in rows if row.new and row.classified}
        by_facts = self.facts([row for row in pool if row.kernel in by_model]) if self.facts else {}
        kernels = [
            (set(vector.techniques), techniques)
            for kernel, techniques in by_model.items()
            if (vector := by_facts.get(kernel))
        ]
        decided = self._decided(None)
        return agreement(self.model, [t.name for t in self.taxonomy if t.name not in decided], kernels)

    def _decided(self, by_facts: TechniqueVector | None) -> dict[str, bool]:
        """Return, for each technique that facts can prove, whether they prove it of a kernel."""
        present = by_facts.techniques if by_facts else ()
        return {t.name: t.name in present for t in self.taxonomy if self.facts and is_provable(t.name)}

    def _prompt(self, row: RankRow, by_facts: TechniqueVector | None) -> Prompt:
        decided = self._decided(by_facts)
        return prompting.classify(
            kernel_source(row.kernel, self.asker.store),
            [technique for technique in self.taxonomy if technique.name not in decided],
            decided=decided,
            build=told_build(row.build, self.asker.store) if row.build else None,
            device=self.device,
        )

    def _vector(
        self, row: RankRow, by_facts: TechniqueVector | None, reply: Reply, request: str
    ) -> TechniqueVector | None:
        decided = self._decided(by_facts)
        flags = flags_of(reply, [t.name for t in self.taxonomy if t.name not in decided])
        if isinstance(flags, NotRead):
            log.warning("kernel %s is not classified by %s: %s", row.kernel[:12], self.model, flags.detail)
            return None
        present = dict.fromkeys(by_facts.techniques if by_facts else (), True) | flags | decided
        evidence = [item for item in (by_facts.evidence if by_facts else ()) if decided.get(item.technique)]
        answer = object_of(reply)
        values = {} if isinstance(answer, NotRead) else answer.value
        evidence += prompting.evidence(values, flags, kernel_source(row.kernel, self.asker.store))
        vector = TechniqueVector(
            taxonomy=taxonomy_digest(self.taxonomy),
            techniques=tuple(t.name for t in self.taxonomy if present.get(t.name)),
            evidence=tuple(evidence),
            classifier=f"both: {self.model}" if self.facts else self.model,
        )
        return self.asker.store.shelf(TechniqueVector).put(self._key(row, vector, request), vector)

    def _key(self, row: RankRow, vector: TechniqueVector, request: str) -> VectorKey:
        code = code_digest("kopt.techniques.static") + request if self.facts else request
        return VectorKey(
            kernel=row.kernel, build=row.build, taxonomy=vector.taxonomy, classifier=vector.classifier, code=code
        )


def write_agreement(
    paths: Sequence[Path], model: ModelClassifier, rows: Sequence[TechniqueRow], pool: Sequence[RankRow]
) -> None:
    """Write how often facts and model agree; `paths` is empty in a run where only one of them classifies."""
    for path in paths:
        write_value(path, model.agreement(rows, pool))
