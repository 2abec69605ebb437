"""Rule `baseline`: measure the seed kernel and the baselines (the reference, eager and compiled) on this GPU."""

from kopt.artifact import write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.report.finals import table_lines
from kopt.stages.baseline import BaselineSettings


def main(job: Job) -> None:
    settings = job.settings(BaselineSettings)
    backend = load_backend(settings.backend)
    finals = backend.baseline(target_of(job), settings.judging, settings.baselines)
    write_value(job.path("baseline"), finals)
    print("\n".join(table_lines(finals)))


run(main)
