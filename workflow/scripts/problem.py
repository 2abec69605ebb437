"""Rule `problem`: write the problem, its facts, and the empty tables that idle repairs copy."""

import yaml

from kopt.artifact import write_table, write_text, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.made_seed import with_seed
from kopt.model.cost import LabelledCost
from kopt.model.device import Device
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.problem.folder import load
from kopt.stages.problem import ProblemSettings


def main(job: Job) -> None:
    backend = load_backend(job.settings(ProblemSettings).backend)
    device = Device.model_validate(yaml.safe_load(job.path("description").read_text()))
    problem = with_seed(load(job.path("folder")), device, job.store)
    write_value(job.path("problem"), problem)
    write_value(job.path("facts"), backend.facts(problem, job.store))
    for path in job.paths("device"):
        write_value(path, device)
    write_table(job.path("candidates"), [], Candidate)
    write_table(job.path("builds"), [], BuildRow)
    write_table(job.path("evaluations"), [], EvaluationRow)
    write_text(job.path("failed"), "")
    for path in job.paths("costs"):
        write_table(path, [], LabelledCost)


run(main)
