"""Rule `finish`: write the exports of the run, and its last lines on the terminal."""

import json

from kopt.jobs.command import Job, run
from kopt.run.manifest import config_of
from kopt.run.read import RunFiles, read_run
from kopt.run.value import NO_MODELS, ModelSummary
from kopt.stages.finish import exports, keep_what_was_learned, lines, write_exports
from kopt.techniques.taxonomy import load
from kopt.view.page import Ask, no_exchange, write_report


def main(job: Job) -> None:
    folder = job.path("best").parent
    finished = read_run(
        files_of(job),
        name=folder.name,
        config=config_of(json.loads(job.text("settings"))),
        taxonomy=[technique.name for technique in load(job.path("taxonomy"))],
        models=model_summary_of(job),
    )
    write_exports(finished, job.store, {name: job.path(name) for name in exports()})
    limits = write_report(finished, job.store, folder, job.path("report"), ask_of(job))
    keep_what_was_learned(finished, job.store)
    files = {"kernel": job.text("best"), "report": job.text("report")}
    print(lines(finished, files, job.store, limits.shortfall))


def files_of(job: Job) -> RunFiles:
    return RunFiles(
        problem=job.path("problem"),
        facts=job.path("facts"),
        device=job.path("device"),
        summaries=job.paths("summaries"),
        selections=job.paths("selections"),
        rankings=job.paths("rankings"),
        techniques=job.paths("techniques"),
        candidates=job.paths("candidates"),
        builds=job.paths("builds"),
        evaluations=job.paths("evaluations"),
        diagnoses=job.paths("diagnoses"),
        outcome=job.paths("outcome"),
    )


def model_summary_of(job: Job) -> ModelSummary:
    """Read what only a run with language models has; other runs do not import the code for it."""
    if not job.paths("costs"):
        return NO_MODELS
    from kopt.run.model_summary import read_model_summary

    return read_model_summary(job.paths("costs"), job.paths("agreements"), job.paths("briefings"))


def ask_of(job: Job) -> Ask:
    """Return what finds prompts and replies, in a run with language models."""
    if not job.paths("costs"):
        return no_exchange
    from kopt.view.asked import exchanges_in

    return exchanges_in(job.store)


run(main)
