"""Rule `profile`: profile parents."""

from kopt.artifact import read_table, write_text, write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.target import target_of
from kopt.model.trial import SelectionRow
from kopt.stages.profile import ProfileSettings, profile_parents


def main(job: Job) -> None:
    settings = job.settings(ProfileSettings)
    backend = load_backend(settings.backend)
    profiled = profile_parents(
        read_table(job.path("selection"), SelectionRow),
        first=job.number("first"),
        places=len(job.paths("profiles")),
        profiler=backend.profile(target_of(job), settings.judging, seconds=settings.profile_seconds),
    )
    for path, (_, counters) in zip(job.paths("counters"), profiled, strict=False):
        write_text(path, counters)
    for path, (profile, _) in zip(job.paths("profiles"), profiled, strict=True):
        write_value(path, profile)


run(main)
