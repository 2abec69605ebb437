"""Rule classify: technique vectors of the pool."""

from kopt.artifact import read_table, read_tables, read_value, write_table
from kopt.jobs.command import Job, run
from kopt.jobs.ledger_costs import write_costs
from kopt.model.device import Device
from kopt.model.trial import RankRow, TechniqueRow
from kopt.stages.classify import classifier, classify_pool
from kopt.stages.classify_by_model import model_classifier, vectors_of, write_agreement


def main(job: Job) -> None:
    facts = classifier(
        job.settings.effective_judge, job.path("taxonomy"), read_value(job.path("device"), Device), job.store
    )
    model = model_classifier(job, facts)
    pool = read_table(job.path("ranking"), RankRow)
    known = read_tables(job.paths("known"), TechniqueRow)
    rows = classify_pool(pool, known, classify=vectors_of(model, facts))
    write_agreement(job.paths("agreement"), model, rows, pool)
    write_table(job.path("techniques"), rows, TechniqueRow)
    write_costs(job)


run(main)
