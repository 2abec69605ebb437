"""Rule `lessons`: write what earlier runs found about transformations, so that this run knows it from now on."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.jobs.lessons import take_along
from kopt.jobs.target import target_of
from kopt.stages.generate_settings import LessonsSettings


def main(job: Job) -> None:
    lessons = take_along(job.settings(LessonsSettings).backend, target_of(job), job.paths("file"))
    write_value(job.path("lessons"), lessons)


run(main)
