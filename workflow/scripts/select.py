"""Rule select: the parents of the next round, and what the round came to."""

from kopt.artifact import read_table, read_tables, read_values, write_table, write_value
from kopt.jobs.command import Job, run
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow
from kopt.report.terminal import round_line
from kopt.stages.select import RoundTables, Rules, check_seed, select_parents, summarise


def main(job: Job) -> None:
    tables = RoundTables(
        candidates=read_tables(job.paths("candidates"), Candidate),
        builds=read_tables(job.paths("builds"), BuildRow),
        evaluations=read_tables(job.paths("evaluations"), EvaluationRow),
        pool=read_table(job.path("ranking"), RankRow),
        techniques=read_table(job.path("techniques"), TechniqueRow),
    )
    check_seed(tables)
    rules = Rules(
        width=job.settings.candidate_pool_size,
        clustering=job.settings.clustering,
        share=job.settings.stop_share,
        patience=job.settings.patience,
    )
    previous = read_values(job.paths("previous"), RoundSummary)
    summary = summarise(job.number("round"), tables, rules, *previous)
    write_table(job.path("selection"), select_parents(tables, rules), SelectionRow)
    write_value(job.path("summary"), summary)
    print(round_line(summary))


run(main)
