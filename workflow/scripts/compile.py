"""Rules `compile`, `compile_seed` and `compile_repair`: build candidates without a GPU and mark duplicates."""

from kopt.artifact import read_table, read_tables, write_table, write_text
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.jobs.kernels import kernel_named
from kopt.jobs.target import target_of
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.stages.compile import CompileSettings, compile_candidates, failed_slots, mark_duplicates, write_records


def main(job: Job) -> None:
    settings, target = job.settings(CompileSettings), target_of(job)
    backend = load_backend(settings.backend)
    candidates = read_table(job.path("candidates"), Candidate)
    build = backend.build(target, workers=job.number("threads"), seconds=settings.build_seconds)
    with environment_set(NO_GPU):
        rows, builds = compile_candidates(
            candidates, target, build=build, kept=backend.keeps_builds, names=backend.build_names(job.store)
        )
    marked = mark_duplicates(rows, read_tables(job.paths("earlier"), BuildRow), chunks=job.number("chunks"))
    write_records(job.paths("records"), marked, builds)
    write_text(job.path("failed"), failed_slots(marked))
    write_table(job.path("builds"), marked, BuildRow)
    judged = [kernel_named(row.kernel, target.problem, job.store) for row in marked if row.chunk >= 0]
    with environment_set(NO_GPU):
        backend.compile_further(judged, target, workers=job.number("threads"), seconds=settings.build_seconds)


run(main)
