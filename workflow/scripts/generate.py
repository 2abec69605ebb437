"""Rules generate and generate_repair: ask every slot's proposer for a candidate."""

from kopt.artifact import read_table, read_tables, read_value, read_values, write_table, write_text
from kopt.jobs.asker import asker_of
from kopt.jobs.briefing import read_briefing
from kopt.jobs.command import Job, run
from kopt.jobs.ledger_costs import write_costs
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate, Slot
from kopt.model.problem import ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.stages.generate import AttemptContext, directions, failures, generate, unusable_slots, write_sources
from kopt.stages.generate_by_model import ask_models, failed_replies, model_proposer


def main(job: Job) -> None:
    context = AttemptContext(
        round=job.number("round"),
        attempt=job.number("attempt"),
        seed=job.settings.seed,
        parents={row.kernel: row for row in read_table(job.path("selection"), SelectionRow)},
        directions=directions(read_values(job.paths("diagnoses"), Diagnosis)),
        facts=read_value(job.path("facts"), ProblemFacts),
        device=read_value(job.path("device"), Device),
        store=job.store,
    )
    slots = read_table(job.path("slots"), Slot)
    earlier = read_tables(job.paths("earlier"), Candidate)
    proposer = model_proposer(
        slots, context, earlier, repairs=job.settings.max_repairs, briefing=read_briefing(job.paths("briefing")),
        asker=asker_of(job),
    )  # fmt: skip
    failed = failures(read_tables(job.paths("builds"), BuildRow), read_tables(job.paths("evaluations"), EvaluationRow))
    candidates = generate(
        slots, context, earlier=earlier, failed=failed | failed_replies(proposer), ask_models=ask_models(proposer)
    )
    write_sources(job.paths("sources"), candidates, job.store)
    write_text(job.path("failed"), unusable_slots([*earlier, *candidates], context.round, context.attempt))
    write_table(job.path("candidates"), candidates, Candidate)
    write_costs(job)


run(main)
