"""Rule `problem`: write the problem, its facts, and the empty tables that idle repairs copy."""

from kopt.artifact import write_table, write_text, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.made_seed import device_to_write_for, with_seed
from kopt.model.cost import LabelledCost
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.problem.folder import load
from kopt.project import project_root
from kopt.stages.problem import ProblemSettings


def main(job: Job) -> None:
    settings = job.settings(ProblemSettings)
    backend, description = load_backend(settings.backend), str(job.path("description"))
    on_gpu = backend.measures and not backend.replays
    device = device_to_write_for(description, project_root(), on_gpu=on_gpu, model=settings.gpu_model)
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
