"""Rule profile: what is known of each parent's run."""

from kopt.artifact import read_table, read_value, write_text, write_value
from kopt.jobs.command import Job, run
from kopt.model.device import Device
from kopt.model.problem import ProblemFacts
from kopt.model.trial import SelectionRow
from kopt.stages.profile import ParentProfile, profile_parents, profiler


def main(job: Job) -> None:
    if job.settings.effective_judge == "cuda":
        on_gpu(job)
        return
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


def on_gpu(job: Job) -> None:
    """The profile of one place of the selection."""
    from kopt.stages.gpu_settings import plan_of, scene_of
    from kopt.stages.profile_cuda import CSV, profile_on_gpu

    parents, place = read_table(job.path("selection"), SelectionRow), job.number("parent")
    profile = ParentProfile(kernel="", profile=None)
    if place < len(parents):
        profile = profile_on_gpu(
            parents[place], scene_of(job), plan=plan_of(job), seconds=job.settings.limits.profile_seconds
        )
    write_text(job.path("counters"), job.store.text(CSV, profile.counters, ".csv") if profile.counters else "")
    write_value(job.path("profiles"), profile)


run(main)
