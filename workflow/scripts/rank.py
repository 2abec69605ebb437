"""Rule `rank`: order the pool by time; a backend that measures first verifies and times its fastest kernels anew."""

from kopt.artifact import read_tables, write_table
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.kernel import Candidate
from kopt.model.trial import EvaluationRow, RankRow, SelectionRow
from kopt.stages.rank import RankSettings, rank


def main(job: Job) -> None:
    settings = job.settings(RankSettings)
    backend = load_backend(settings.backend)
    pool = rank(
        read_tables(job.paths("selection"), SelectionRow),
        read_tables(job.paths("candidates"), Candidate),
        read_tables(job.paths("evaluations"), EvaluationRow),
    )
    ranking = backend.rank(pool, target_of(job), settings.finals, round=job.number("round"))
    write_table(job.path("ranking"), ranking, RankRow)


run(main)
