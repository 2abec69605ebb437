"""Rule profile: what is known of each parent's run."""

from kopt.artifact import read_table, read_value, write_value
from kopt.model.device import Device
from kopt.model.problem import ProblemFacts
from kopt.model.trial import SelectionRow
from kopt.stages.command import Job, run
from kopt.stages.profile import profile_parents, profiler


def main(job: Job) -> None:
    profiles = profile_parents(
        read_table(job.path("selection"), SelectionRow),
        places=len(job.paths("profiles")),
        profiler=profiler(
            job.settings.effective_judge,
            read_value(job.path("facts"), ProblemFacts),
            read_value(job.path("device"), Device),
            job.store,
        ),
    )
    for path, profile in zip(job.paths("profiles"), profiles, strict=True):
        write_value(path, profile)


run(main)
