"""Rule finish: what the user takes home."""

import json
from typing import Any

from kopt.artifact import read_table, read_tables, read_value, read_values, write_table, write_text, write_value
from kopt.jobs.command import Job, run
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow, RoundSummary, SelectionRow, TechniqueRow, Trial
from kopt.stages import finish
from kopt.techniques.taxonomy import load


def of_models(job: Job) -> dict[str, Any]:
    """What only a run that asked language models has; others do not load the code for it."""
    if not job.paths("costs"):
        return {}
    from kopt.stages.model_summary import told

    return told(job)._asdict()


def main(job: Job) -> None:
    done = finish.Run(
        name=job.path("best").parent.name,
        configuration=json.loads(job.text("settings")),
        problem=read_value(job.path("problem"), Problem),
        facts=read_value(job.path("facts"), ProblemFacts),
        device=read_value(job.path("device"), Device),
        taxonomy=load(job.path("taxonomy")),
        summaries=read_values(job.paths("summaries"), RoundSummary),
        selections=[read_table(path, SelectionRow) for path in job.paths("selections")],
        candidates=read_tables(job.paths("candidates"), Candidate),
        builds=read_tables(job.paths("builds"), BuildRow),
        evaluations=read_tables(job.paths("evaluations"), EvaluationRow),
        techniques=[read_table(path, TechniqueRow) for path in job.paths("techniques")],
        outcomes=read_values(job.paths("outcome"), Outcome),
        diagnoses=read_values(job.paths("diagnoses"), Diagnosis),
        **of_models(job),
    )
    write_table(job.path("trials"), done.trials, Trial)
    write_text(job.path("best"), finish.best_source(done, job.store))
    write_value(job.path("final"), finish.final(done))
    write_value(job.path("manifest"), finish.manifest(done))
    write_text(job.path("report"), finish.report(done, job.store))
    print(finish.lines(done, {"kernel": job.text("best"), "report": job.text("report")}))


run(main)
