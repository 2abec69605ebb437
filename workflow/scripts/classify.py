"""Rule classify: technique vectors of the pool."""

from kopt.artifact import read_table, read_tables, read_value, write_table
from kopt.model.device import Device
from kopt.model.trial import RankRow, TechniqueRow
from kopt.stages.classify import classifier, classify_pool
from kopt.stages.command import Job, run


def main(job: Job) -> None:
    classify = classifier(
        job.settings.effective_judge, job.path("taxonomy"), read_value(job.path("device"), Device), job.store
    )
    rows = classify_pool(
        read_table(job.path("ranking"), RankRow), read_tables(job.paths("known"), TechniqueRow), classify=classify
    )
    write_table(job.path("techniques"), rows, TechniqueRow)


run(main)
