"""Rule classify: technique vectors of the pool."""

from kopt.artifact import read_table, read_tables, read_value, write_table
from kopt.jobs.asker import asker_of
from kopt.jobs.command import Job, run
from kopt.jobs.ledger_costs import write_costs
from kopt.model.device import Device
from kopt.model.trial import RankRow, TechniqueRow
from kopt.stages.classify import Vectors, classifier, classify_pool
from kopt.stages.classify_by_model import ModelClassifier, classifier_or_facts, write_agreement
from kopt.techniques.taxonomy import load


def main(job: Job) -> None:
    device = read_value(job.path("device"), Device)
    facts = classifier(job.settings.effective_judge, load(job.path("taxonomy")), device, job.store)
    model = model_of(job, facts)
    pool = read_table(job.path("ranking"), RankRow)
    earlier = read_tables(job.paths("known"), TechniqueRow)
    rows = classify_pool(pool, earlier, classify=classifier_or_facts(model, facts))
    write_agreement(job.paths("agreement"), model, rows, pool)
    write_table(job.path("techniques"), rows, TechniqueRow)
    write_costs(job)


def model_of(job: Job, facts: Vectors) -> ModelClassifier | None:
    """The language model that classifies; None where facts alone do."""
    if not job.settings.classifier:
        return None
    asker = asker_of(job, concurrency=job.settings.technique_clustering.max_concurrency)
    assert asker is not None
    both = job.settings.classification == "both" and job.settings.effective_judge != "dry"
    return ModelClassifier(
        model=job.settings.classifier,
        asker=asker,
        taxonomy=load(job.path("taxonomy")),
        device=read_value(job.path("device"), Device),
        round=job.number("round"),
        facts=facts if both else None,
    )


run(main)
