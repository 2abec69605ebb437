"""Stage problem: the problem as one value, and what its workloads must move and compute."""

from __future__ import annotations

from kopt import artifact
from kopt.jobs.keys import FactsKey
from kopt.model.problem import Problem, ProblemFacts
from kopt.provenance import code_digest
from kopt.store import Store


def facts_of(problem: Problem, store: Store, judge: str) -> ProblemFacts:
    """Facts of the main workloads; none in a dry run, which needs no torch."""
    if judge == "dry":
        return ProblemFacts(dtype=problem.dtype, workloads=())
    key = FactsKey(problem=artifact.digest(problem), code=code_digest("kopt.device.reference.facts"))
    return store.shelf(ProblemFacts).get_or_make(key, lambda: _trace(problem))


def _trace(problem: Problem) -> ProblemFacts:
    from kopt.device.reference.facts import problem_facts

    return problem_facts(problem)
