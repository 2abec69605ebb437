"""Rule `screen`: decide by estimates which kernels of an attempt a GPU need not judge."""

from kopt.artifact import read_table, read_tables, write_table
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow
from kopt.search.screen import ScreenSettings, screen_kernels


def main(job: Job) -> None:
    settings, target = job.settings(ScreenSettings), target_of(job)
    backend = load_backend(settings.backend)
    rows = screen_kernels(
        read_table(job.path("builds"), BuildRow),
        read_tables(job.paths("measured"), EvaluationRow),
        read_table(job.path("parents"), SelectionRow),
        settings,
        estimate=lambda build: backend.estimate(build, target),
    )
    write_table(job.path("screen"), rows, ScreenRow)


run(main)
