"""Apply transformations to kernels, and judge with the interpreter what comes of it."""

from random import Random

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.source.module import parse
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from tests.rewrite import more_samples, samples

Job = tuple[str, str, str]
"""Name of a problem, what was done to its kernel, and the kernel's new source."""


def apply(transformation: str, source: str, seed: int) -> str | None:
    """Apply a transformation at its first site that gives a change; None where there is none."""
    module = parse(source)
    assert module is not None
    for site in TRANSFORMATIONS[transformation].sites(module, samples.facts()):
        change = site.apply(Random(seed))
        if change is not None:
            return change.source
    return None


def judged(jobs: list[Job]) -> dict[str, str]:
    """Return what failed, and why."""
    return run_with_environment(NO_GPU, 900.0, failed_in_this_process, jobs)


def failed_in_this_process(jobs: list[Job]) -> dict[str, str]:
    """Judge kernels in a process that nothing else has used Triton in."""
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.model.kernel import Kernel

    known = samples.problems() | more_samples.problems()
    tasks = [VerifyJob(kernel=Kernel(source=source), problem=known[name], seed=1) for name, _, source in jobs]
    return {
        f"{jobs[at][0]}: {jobs[at][1]}": f"{verdict.reason}\n{jobs[at][2]}"
        for at, verdict in verify_all(tasks, workers=2)
        if verdict.verdict != "passed"
    }
