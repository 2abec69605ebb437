"""Count what a problem's workloads must move and compute, and keep it in the store."""

from __future__ import annotations

from kopt import artifact
from kopt.jobs.keys import FactsKey
from kopt.model.problem import Problem, ProblemFacts
from kopt.provenance import code_digest
from kopt.store import Store


def facts_of(problem: Problem, store: Store) -> ProblemFacts:
    """Count the bytes and operations of the main workloads; facts in the store are not counted again."""
    key = FactsKey(problem=artifact.digest(problem), code=code_digest("kopt.device.reference.facts"))
    return store.shelf(ProblemFacts).get_or_make(key, lambda: _trace(problem))


def _trace(problem: Problem) -> ProblemFacts:
    from kopt.device.reference.facts import problem_facts

    return problem_facts(problem)
