"""Rule `expand`: share out the slots of a round."""

from kopt.artifact import read_table, read_value, write_table
from kopt.jobs.command import Job, run
from kopt.model.kernel import Slot
from kopt.model.trial import RoundSummary, SelectionRow
from kopt.search.registry import load_strategy
from kopt.stages.expand import ExpandSettings, expand_round


def main(job: Job) -> None:
    settings = job.settings(ExpandSettings)
    strategy = load_strategy(settings.strategy)
    slots = expand_round(
        strategy,
        read_table(job.path("selection"), SelectionRow),
        read_value(job.path("archive"), strategy.archive),
        read_value(job.path("summary"), RoundSummary),
        settings.fan_out,
    )
    write_table(job.path("slots"), slots, Slot)


run(main)
