"""Rule `diagnose`: rank different directions for each parent."""

from collections.abc import Sequence

from kopt.artifact import read_table, read_value, read_values, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.diagnosis import Diagnosis, ParentProfile
from kopt.model.trial import SelectionRow
from kopt.stages.diagnose import DiagnoseSettings, diagnose_parents


def main(job: Job) -> None:
    settings = job.settings(DiagnoseSettings)
    backend = load_backend(settings.backend)
    diagnoses = diagnose_parents(
        read_table(job.path("selection"), SelectionRow),
        read_values(job.paths("profiles"), ParentProfile),
        diagnoser=backend.directions(target_of(job), settings.num_bottlenecks),
    )
    if settings.asking:
        diagnoses = by_model(job, settings, diagnoses)
    for path, diagnosis in zip(job.paths("diagnoses"), diagnoses, strict=True):
        write_value(path, diagnosis)


def by_model(job: Job, settings: DiagnoseSettings, by_rules: Sequence[Diagnosis]) -> list[Diagnosis]:
    from kopt.jobs.asker import asker_of
    from kopt.jobs.briefing import Briefing
    from kopt.jobs.ledger_costs import write_costs
    from kopt.stages.diagnose_by_model import diagnose_by_model

    briefing, asker = read_value(job.path("briefing"), Briefing), asker_of(job, settings.asking)
    diagnoses = diagnose_by_model(by_rules, briefing, asker, model=settings.diagnoser, count=settings.num_bottlenecks)
    write_costs(job)
    return diagnoses


run(main)
