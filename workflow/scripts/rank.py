"""Rule rank: the pool in order of time; on a GPU its fastest are verified and timed anew, side by side."""

from kopt.artifact import read_tables, write_table
from kopt.jobs.command import Job, run
from kopt.model.kernel import Candidate
from kopt.model.trial import EvaluationRow, RankRow, SelectionRow
from kopt.stages.rank import rank


def main(job: Job) -> None:
    ranking = rank(
        read_tables(job.paths("selection"), SelectionRow),
        read_tables(job.paths("candidates"), Candidate),
        read_tables(job.paths("evaluations"), EvaluationRow),
    )
    if job.settings.effective_judge == "cuda":
        from kopt.stages.gpu_settings import course_of, scene_of
        from kopt.stages.measure_cuda import measure_pool

        round = job.number("round")
        ranking = measure_pool(
            ranking, scene_of(job), course_of(job, f"rank {round}"), finalists=job.settings.finalists, round=round
        )
    write_table(job.path("ranking"), ranking, RankRow)


run(main)
