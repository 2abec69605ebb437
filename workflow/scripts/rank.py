"""Rule rank: the pool in order of time."""

from kopt.artifact import read_tables, write_table
from kopt.model.kernel import Candidate
from kopt.model.trial import EvaluationRow, RankRow, SelectionRow
from kopt.stages.command import Job, run
from kopt.stages.rank import rank


def main(job: Job) -> None:
    ranking = rank(
        read_tables(job.paths("selection"), SelectionRow),
        read_tables(job.paths("candidates"), Candidate),
        read_tables(job.paths("evaluations"), EvaluationRow),
    )
    write_table(job.path("ranking"), ranking, RankRow)


run(main)
