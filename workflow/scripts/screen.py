"""Rule `screen`: decide by estimates which kernels of an attempt a GPU need not judge."""

from kopt.artifact import read_table, read_tables, write_table
from kopt.backends.estimates import estimate_time
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow
from kopt.search.screen import ScreenSettings, screen_kernels


def main(job: Job) -> None:
    target = target_of(job)
    rows = screen_kernels(
        read_table(job.path("builds"), BuildRow),
        read_tables(job.paths("measured"), EvaluationRow),
        read_table(job.path("parents"), SelectionRow),
        job.settings(ScreenSettings),
        estimate=lambda build: estimate_time(build, target.facts, target.device, target.store).objective_ms,
    )
    write_table(job.path("screen"), rows, ScreenRow)


run(main)
