"""Rule diagnose: ranked, different directions for each parent."""

from kopt.artifact import read_table, read_value, read_values, write_value
from kopt.jobs.asker import asker_of
from kopt.jobs.briefing import read_briefing
from kopt.jobs.command import Job, run
from kopt.jobs.ledger_costs import write_costs
from kopt.model.device import Device
from kopt.model.problem import ProblemFacts
from kopt.model.trial import SelectionRow
from kopt.stages.diagnose import diagnose_by_model, diagnose_parents, diagnoser
from kopt.stages.profile import ParentProfile


def main(job: Job) -> None:
    by_rules = diagnose_parents(
        read_table(job.path("selection"), SelectionRow),
        read_values(job.paths("profiles"), ParentProfile),
        diagnoser=diagnoser(
            job.settings.effective_judge,
            read_value(job.path("facts"), ProblemFacts),
            read_value(job.path("device"), Device),
            job.store,
            count=job.settings.num_bottlenecks,
        ),
    )
    diagnoses = diagnose_by_model(
        by_rules,
        read_briefing(job.paths("briefing")),
        asker_of(job),
        model=job.settings.diagnoser,
        count=job.settings.num_bottlenecks,
    )
    for path, diagnosis in zip(job.paths("diagnoses"), diagnoses, strict=True):
        write_value(path, diagnosis)
    write_costs(job)


run(main)
