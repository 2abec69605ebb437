"""Count the bytes and operations of a problem's workloads, and store these facts."""

from __future__ import annotations

from kopt import artifact
from kopt.jobs.keys import FactsKey
from kopt.model.problem import Problem, ProblemFacts
from kopt.provenance import code_digest
from kopt.store import Store


def facts_of(problem: Problem, store: Store) -> ProblemFacts:
    """Count the bytes and operations of the main workloads, or read these facts from the store."""
    key = FactsKey(problem=artifact.digest(problem), code=code_digest("kopt.device.facts.facts"))
    return store.shelf(ProblemFacts).get_or_make(key, lambda: _trace(problem))


def _trace(problem: Problem) -> ProblemFacts:
    from kopt.device.facts.facts import problem_facts

    return problem_facts(problem)
