"""Rule baseline: the reference as PyTorch runs it and compiles it, and the seed kernel, on this GPU."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.stages.gpu_settings import course_of, scene_of
from kopt.stages.measure_cuda import measure_baselines, table_lines


def main(job: Job) -> None:
    finals = measure_baselines(scene_of(job), course_of(job, "baseline"), job.settings.baselines)
    write_value(job.path("baseline"), finals)
    print("\n".join(table_lines(finals)))


run(main)
