"""Rule `classify`: find the technique vectors of the pool."""

from collections.abc import Sequence

from kopt.artifact import read_table, read_tables, read_value, write_table
from kopt.backends.backend import Classifier, load_backend
from kopt.jobs.command import Job, run
from kopt.model.device import Device
from kopt.model.technique import Technique
from kopt.model.trial import RankRow, TechniqueRow
from kopt.stages.classify import ClassifySettings, classify_pool
from kopt.techniques.taxonomy import load


def main(job: Job) -> None:
    settings = job.settings(ClassifySettings)
    backend = load_backend(settings.backend)
    device, taxonomy = read_value(job.path("device"), Device), load(job.path("taxonomy"))
    facts = backend.techniques(taxonomy, device, job.store)
    pool = read_table(job.path("ranking"), RankRow)
    earlier = read_tables(job.paths("known"), TechniqueRow)
    if settings.classifier_asking is None:
        rows = classify_pool(pool, earlier, classify=facts)
    else:
        proves = settings.classification == "both" and backend.builds
        rows = by_model(job, settings, taxonomy, device, facts if proves else None, pool, earlier)
    write_table(job.path("techniques"), rows, TechniqueRow)


def by_model(
    job: Job,
    settings: ClassifySettings,
    taxonomy: Sequence[Technique],
    device: Device,
    facts: Classifier | None,
    pool: Sequence[RankRow],
    earlier: Sequence[TechniqueRow],
) -> list[TechniqueRow]:
    from kopt.jobs.asker import asker_of
    from kopt.jobs.ledger_costs import write_costs
    from kopt.stages.classify_by_model import ModelClassifier, write_agreement

    model = ModelClassifier(
        model=settings.classifier,
        asker=asker_of(job, settings.classifier_asking, concurrency=settings.classifier_concurrency),
        taxonomy=taxonomy,
        device=device,
        round=job.number("round"),
        facts=facts,
    )
    rows = classify_pool(pool, earlier, classify=model.vectors)
    write_agreement(job.paths("agreement"), model, rows, pool)
    write_costs(job)
    return rows


run(main)
