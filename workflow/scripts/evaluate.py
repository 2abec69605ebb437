"""Rules evaluate and evaluate_repair: a verdict and a time for every unique kernel of a chunk."""

from kopt.artifact import read_table, read_value, write_table, write_text
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.stages.command import Job, run
from kopt.stages.evaluate import evaluate, failed_slots, judge


def main(job: Job) -> None:
    rows = evaluate(
        read_table(job.path("builds"), BuildRow),
        chunk=job.number("chunk"),
        judge=judge(
            job.settings.effective_judge,
            read_value(job.path("problem"), Problem),
            read_value(job.path("facts"), ProblemFacts),
            read_value(job.path("device"), Device),
            job.store,
            seed=job.settings.seed,
            workers=job.number("threads"),
            seconds=job.settings.limits.judge_seconds,
        ),
    )
    write_text(job.path("failed"), failed_slots(rows))
    write_table(job.path("evaluation"), rows, EvaluationRow)


run(main)
