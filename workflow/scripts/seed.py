"""Rule `seed`: make round 0's candidates from the problem's seed kernel, and from its reference if asked."""

from kopt.artifact import read_value, write_table, write_text
from kopt.jobs.command import Job, run
from kopt.jobs.kernels import kernel_source
from kopt.model.device import Device
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem
from kopt.stages.seed import second_candidate, seed_candidate


def main(job: Job) -> None:
    problem = read_value(job.path("problem"), Problem)
    candidates = [seed_candidate(problem.seed, job.store)]
    write_text(job.path("source"), problem.seed.source)
    for device, path in zip(job.paths("device"), job.paths("second"), strict=True):
        second = second_candidate(problem, read_value(device, Device), job.store)
        write_text(path, kernel_source(second.kernel, job.store) if second.kernel else f"# {second.reason}\n")
        candidates.append(second)
    write_table(job.path("candidates"), candidates, Candidate)


run(main)
