"""Rule expand: the slots of a round."""

from kopt.artifact import read_table, read_value, write_table
from kopt.jobs.command import Job, run
from kopt.model.kernel import Slot
from kopt.model.trial import RoundSummary, SelectionRow
from kopt.search.expand import FanOut
from kopt.search.registry import load_strategy
from kopt.stages.expand import expand_round


def main(job: Job) -> None:
    strategy = load_strategy(job.settings.effective_strategy)
    slots = expand_round(
        strategy,
        read_table(job.path("selection"), SelectionRow),
        read_value(job.path("archive"), strategy.archive),
        read_value(job.path("summary"), RoundSummary),
        FanOut(
            width=job.settings.candidate_pool_size,
            bottlenecks=job.settings.num_bottlenecks,
            models=job.settings.proposers,
            samples=job.settings.samples_per_prompt,
        ),
    )
    write_table(job.path("slots"), slots, Slot)


run(main)
