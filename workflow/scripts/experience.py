"""Rule `experience`: write what earlier runs found about transformations, so that this run knows it from now on."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.jobs.experience import take_along
from kopt.jobs.target import target_of
from kopt.stages.generate_settings import ExperienceSettings


def main(job: Job) -> None:
    experience = take_along(job.settings(ExperienceSettings).backend, target_of(job), job.paths("file"))
    write_value(job.path("experience"), experience)


run(main)
