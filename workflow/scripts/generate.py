"""Rules `generate` and `generate_repair`: ask every slot's proposer for a candidate."""

from collections.abc import Sequence

from kopt.artifact import read_table, read_tables, read_value, read_values, write_table, write_text
from kopt.jobs.command import Job, run
from kopt.jobs.rewriter import NOTHING_LEARNED, Learned
from kopt.jobs.tried import tried_before
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate, Slot
from kopt.model.problem import ProblemFacts
from kopt.model.proposers import EarlierRuns
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.rewrite.earlier_runs import start_of
from kopt.rewrite.experience import Experience
from kopt.search.tuned_slots import tuned_slots
from kopt.stages.generate import (
    NO_MODELS,
    AttemptContext,
    ModelProposals,
    directions,
    failures,
    generate,
    unusable_slots,
    write_sources,
)
from kopt.stages.generate_settings import GenerateSettings


def main(job: Job) -> None:
    settings = job.settings(GenerateSettings)
    slots = read_table(job.path("slots"), Slot)
    selection = read_table(job.path("selection"), SelectionRow)
    earlier = read_tables(job.paths("earlier"), Candidate)
    context = AttemptContext(
        round=job.number("round"),
        attempt=job.number("attempt"),
        seed=settings.seed,
        parents={row.kernel: row for row in selection},
        directions=directions(read_values(job.paths("diagnoses"), Diagnosis)),
        facts=read_value(job.path("facts"), ProblemFacts),
        device=read_value(job.path("device"), Device),
        store=job.store,
        learned=learned(job, settings, slots, selection, earlier) if settings.learning else NOTHING_LEARNED,
    )
    failed = failures(read_tables(job.paths("builds"), BuildRow), read_tables(job.paths("evaluations"), EvaluationRow))
    models = language_models(job, settings, slots, context, earlier) if settings.asking else NO_MODELS
    candidates = generate(slots, context, earlier=earlier, failed=failed | models.failed, ask_models=models.ask)
    write_sources(job.paths("sources"), candidates, job.store)
    write_text(job.path("failed"), unusable_slots([*earlier, *candidates], context.round, context.attempt))
    write_table(job.path("candidates"), candidates, Candidate)
    if settings.asking:
        write_costs(job)


def learned(
    job: Job,
    settings: GenerateSettings,
    slots: Sequence[Slot],
    selection: Sequence[SelectionRow],
    earlier: Sequence[Candidate],
) -> Learned:
    builds = read_tables(job.paths("tried_builds"), BuildRow)
    evaluations = read_tables(job.paths("tried_evaluations"), EvaluationRow)
    experience = Experience(
        tried_before(job.number("round"), earlier, builds, evaluations),
        start_of(*read_values(job.paths("experience"), EarlierRuns)),
    )
    return Learned(experience, tuned_slots(slots, selection, job.number("round"), settings.tuned_share))


def language_models(
    job: Job, settings: GenerateSettings, slots: Sequence[Slot], context: AttemptContext, earlier: Sequence[Candidate]
) -> ModelProposals:
    from kopt.jobs.asker import asker_of
    from kopt.jobs.briefing import Briefing
    from kopt.stages.generate_by_model import model_proposals

    briefing, asker = read_value(job.path("briefing"), Briefing), asker_of(job, settings.asking)
    return model_proposals(slots, context, earlier, repairs=settings.max_repairs, briefing=briefing, asker=asker)


def write_costs(job: Job) -> None:
    from kopt.jobs import ledger_costs

    ledger_costs.write_costs(job)


run(main)
