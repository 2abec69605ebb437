"""Rule `select`: choose the parents of the next round, update the strategy's archive, and summarise the round."""

from kopt.artifact import read_table, read_tables, read_values, write_table, write_value
from kopt.jobs.command import Job, run
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow
from kopt.report.round_line import round_line
from kopt.run.tables import RoundTables
from kopt.search.registry import load_strategy
from kopt.stages.select import SelectSettings, check_seed, select_parents, summarise


def main(job: Job) -> None:
    tables = RoundTables(
        candidates=read_tables(job.paths("candidates"), Candidate),
        builds=read_tables(job.paths("builds"), BuildRow),
        evaluations=read_tables(job.paths("evaluations"), EvaluationRow),
        pool=read_table(job.path("ranking"), RankRow),
        techniques=read_table(job.path("techniques"), TechniqueRow),
    )
    check_seed(tables)
    settings = job.settings(SelectSettings)
    strategy = load_strategy(settings.strategy)
    archives = read_values(job.paths("previous_archive"), strategy.archive)
    parents, archive = select_parents(tables, settings, strategy, *archives)
    summary = summarise(job.number("round"), tables, settings, *read_values(job.paths("previous"), RoundSummary))
    write_table(job.path("selection"), parents, SelectionRow)
    write_value(job.path("archive"), archive)
    write_value(job.path("summary"), summary)
    print(round_line(summary, replayed=settings.replayed))


run(main)
