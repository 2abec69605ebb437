"""Rule `outcome`: verify and time the best kernel, the seed and the baselines anew, side by side."""

from kopt.artifact import read_table, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.trial import SelectionRow
from kopt.stages.baseline import BaselineSettings


def main(job: Job) -> None:
    settings = job.settings(BaselineSettings)
    backend = load_backend(settings.backend)
    selection = read_table(job.path("selection"), SelectionRow)
    write_value(job.path("outcome"), backend.outcome(selection, target_of(job), settings.judging, settings.baselines))


run(main)
