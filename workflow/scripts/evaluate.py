"""Rules `evaluate` and `evaluate_repair`: find a verdict and a time for every kernel of a chunk."""

from kopt.artifact import read_table, read_tables, write_table, write_text
from kopt.backends.backend import Rivals, load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow
from kopt.stages.evaluate import EvaluateSettings, evaluate, failed_slots, print_screen


def main(job: Job) -> None:
    settings = job.settings(EvaluateSettings)
    backend = load_backend(settings.backend)
    parents = read_tables(job.paths("incumbent"), SelectionRow)
    judge = backend.judge(
        target_of(job),
        settings.judging,
        rivals=Rivals(parents, finalists=job.number("finalists")),
        workers=job.number("threads"),
    )
    screen = read_tables(job.paths("screen"), ScreenRow)
    builds = read_table(job.path("builds"), BuildRow)
    rows = evaluate(builds, chunk=job.number("chunk"), judge=judge, screen=screen)
    print_screen(screen, rows, parents)
    write_text(job.path("failed"), failed_slots(rows))
    write_table(job.path("evaluation"), rows, EvaluationRow)


run(main)
