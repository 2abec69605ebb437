"""Rules compile, compile_seed and compile_repair: build candidates without a GPU and mark duplicates."""

from kopt.artifact import read_table, read_tables, read_value, write_table, write_text
from kopt.jobs.command import Job, run
from kopt.model.device import Device
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem
from kopt.model.trial import BuildRow
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.stages.compile import builder, compile_candidates, failed_slots, mark_duplicates, write_records


def main(job: Job) -> None:
    candidates = read_table(job.path("candidates"), Candidate)
    problem = read_value(job.path("problem"), Problem)
    device = read_value(job.path("device"), Device)
    build = builder(
        job.settings.effective_judge,
        problem,
        device,
        job.store,
        workers=job.number("threads"),
        seconds=job.settings.limits.build_seconds,
    )
    with environment_set(NO_GPU):
        rows, builds = compile_candidates(candidates, problem=problem, device=device, store=job.store, build=build)
    marked = mark_duplicates(rows, read_tables(job.paths("earlier"), BuildRow), chunks=job.number("chunks"))
    write_records(job.paths("records"), marked, builds)
    write_text(job.path("failed"), failed_slots(marked))
    write_table(job.path("builds"), marked, BuildRow)


run(main)
