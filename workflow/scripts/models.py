"""Rule models: the run's part of the model table."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.stages.models import snapshot


def main(job: Job) -> None:
    write_value(job.path("table"), snapshot(job.path("file"), job.settings.asked_models, job.settings.replies))


run(main)
