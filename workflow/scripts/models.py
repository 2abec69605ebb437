"""Rule `models`: copy the run's part of the model table, and check its models."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.stages.models import ModelsSettings, snapshot


def main(job: Job) -> None:
    settings = job.settings(ModelsSettings)
    write_value(job.path("table"), snapshot(job.path("file"), settings.asked_models, settings.replies))


run(main)
