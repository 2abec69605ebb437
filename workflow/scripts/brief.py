"""Rule `brief`: collect what the next round's prompts may say."""

from kopt.artifact import read_table, read_tables, read_value, read_values, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.asker import asker_of
from kopt.jobs.briefing import Briefing
from kopt.jobs.command import Job, run
from kopt.jobs.ledger_costs import write_costs
from kopt.model.device import Device
from kopt.model.diagnosis import ParentProfile
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow
from kopt.run.tables import Round, RoundTables
from kopt.stages.brief import BriefSettings, brief, memory_before, prompt_context
from kopt.techniques.taxonomy import load


def main(job: Job) -> None:
    settings = job.settings(BriefSettings)
    backend = load_backend(settings.backend)
    context = prompt_context(
        read_value(job.path("problem"), Problem),
        read_value(job.path("facts"), ProblemFacts),
        read_value(job.path("device"), Device),
        load(job.path("taxonomy")),
        backend.triton(job.store),
    )
    tables = RoundTables(
        candidates=read_tables(job.paths("candidates"), Candidate),
        builds=read_tables(job.paths("builds"), BuildRow),
        evaluations=read_tables(job.paths("evaluations"), EvaluationRow),
        pool=read_table(job.path("ranking"), RankRow),
        techniques=read_table(job.path("techniques"), TechniqueRow),
    )
    round = Round(
        tables=tables,
        selection=read_table(job.path("selection"), SelectionRow),
        summary=read_value(job.path("summary"), RoundSummary),
    )
    briefing = brief(
        round,
        context,
        parents=read_tables(job.paths("parents"), SelectionRow),
        profiles=read_values(job.paths("profiles"), ParentProfile),
        baseline=next(iter(read_values(job.paths("baseline"), Finals)), None),
        before=memory_before(*read_values(job.paths("before"), Briefing)),
        reflector=settings.reflector,
        asker=asker_of(job, settings.asking),
        store=job.store,
    )
    write_value(job.path("briefing"), briefing)
    write_costs(job)


run(main)
