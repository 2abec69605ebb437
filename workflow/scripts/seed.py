"""Rule `seed`: make round 0's only candidate from the problem's seed kernel."""

from kopt.artifact import read_value, write_table, write_text
from kopt.jobs.command import Job, run
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem
from kopt.stages.seed import seed_candidate


def main(job: Job) -> None:
    problem = read_value(job.path("problem"), Problem)
    candidate = seed_candidate(problem.seed, job.store)
    write_text(job.path("source"), problem.seed.source)
    write_table(job.path("candidates"), [candidate], Candidate)


run(main)
