"""Rules evaluate and evaluate_repair: a verdict and a time for every unique kernel of a chunk."""

from kopt.artifact import read_table, read_tables, read_value, write_table, write_text
from kopt.jobs.command import Job, run
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.stages.evaluate import Judge, evaluate, failed_slots, judge


def main(job: Job) -> None:
    rows = evaluate(read_table(job.path("builds"), BuildRow), chunk=job.number("chunk"), judge=chosen(job))
    write_text(job.path("failed"), failed_slots(rows))
    write_table(job.path("evaluation"), rows, EvaluationRow)


def chosen(job: Job) -> Judge:
    scene = (
        read_value(job.path("problem"), Problem),
        read_value(job.path("facts"), ProblemFacts),
        read_value(job.path("device"), Device),
        job.store,
    )
    if job.settings.effective_judge == "cuda":
        from kopt.stages.evaluate_cuda import judge_by_cuda
        from kopt.stages.gpu_settings import plan_of

        parents = read_tables(job.paths("incumbent"), SelectionRow)
        fastest = min(parents, key=lambda row: row.time_ms).kernel if parents else ""
        return judge_by_cuda(*scene, plan=plan_of(job), incumbent=fastest)
    return judge(
        job.settings.effective_judge, *scene, seed=job.settings.seed, workers=job.number("threads"),
        seconds=job.settings.limits.judge_seconds,
    )  # fmt: skip


run(main)
