"""Rule outcome: the best kernel, the seed and the baselines, verified and timed anew, side by side."""

from kopt.artifact import read_table, write_value
from kopt.jobs.command import Job, run
from kopt.model.trial import SelectionRow
from kopt.stages.gpu_settings import course_of, scene_of
from kopt.stages.measure_cuda import measure_outcome


def main(job: Job) -> None:
    outcome = measure_outcome(
        read_table(job.path("selection"), SelectionRow),
        scene_of(job),
        course_of(job, "outcome", processes=4),
        job.settings.baselines,
    )
    write_value(job.path("outcome"), outcome)


run(main)
