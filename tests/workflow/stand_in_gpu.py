"""A stand-in for a GPU: a copy of the project whose judge makes verdicts, times and counters up, new ones each time.

All else is real: builds by Triton, store, rules, exchange folder.  Nothing that the stand-in says is about any kernel.
With `versions`, its machine says that it has torch 9.1.0 and Triton 9.2.0.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any  # a `Project` of the conftest, which cannot be imported by name

GPU = "STAND_IN_GPU"
"""Variable that holds the identifier of the made-up GPU; empty on a machine without one."""
LOG = "STAND_IN_LOG"
"""Variable that names the file in which each measurement has a line."""
NOWHERE = Path(os.devnull)

ADDED = {
    "kopt/device/hardware/gpus.py": """
def find_gpus():
    import os
    uuid = os.environ.get("STAND_IN_GPU")
    return (Gpu(uuid=uuid, name="made-up GPU", memory_bytes=80 << 30, driver="1", arch=90, index=0),) if uuid else ()
""",
    "kopt/device/hardware/peaks.py": """
def known_device(store):
    from kopt.device.hardware.gpus import find_gpus
    (gpu,) = visible_gpus(os.environ)
    device = Device(
        name=gpu.name, arch=90, sm_count=132, shared_bytes_per_block=232448, shared_bytes_per_sm=233472,
        l2_bytes=50 << 20, memory_bytes=80 << 30, sm_clock_mhz=1980, copy_gb_s=3000.0, vector_tflop_s=60.0,
        matmul_tflop_s={"bfloat16": 700.0}, measured=True,
    )
    found = MeasuredDevice(device=device, uuid=gpu.uuid, driver=gpu.driver, read_gb_s=3000.0)
    return store.shelf(MeasuredDevice).put(peaks_key(gpu), found)
""",
    "kopt/device/cuda/judge.py": """
def _note(what):
    import os
    with open(os.environ["STAND_IN_LOG"], "a") as file:
        file.write(what + chr(10))

def _made_up(problem, context, calls=9):
    import random
    from kopt.model.timing import Measured, WorkloadTiming
    drawn, timed = random.SystemRandom(), []
    for workload in problem.main:
        samples = tuple(sorted(drawn.uniform(0.9, 1.9) for _ in range(calls)))
        timed.append(WorkloadTiming(
            workload=workload.name, median_ms=samples[calls // 2], low_ms=samples[calls // 4],
            high_ms=samples[3 * calls // 4], samples_ms=samples, floor_ms=0.3,
        ))
    gpu = context.gpu
    return Measured(
        device=gpu.device.name, workloads=tuple(timed), environment=environment(gpu.device.name, gpu.uuid, gpu.driver)
    )

def _verdict(source):
    from kopt.model.build import Phase
    from kopt.model.verdict import Check, Failed, Incorrect, Passed
    checks = (Check(workload="main", distribution="normal", max_error=0.001, allowed=0.01),)
    if "# wrong" in source:
        return Incorrect(judge="cuda", reason="made-up difference", checks=checks)
    if "# hangs" in source:
        return Failed(judge="cuda", phase=Phase.TIMEOUT, reason="made-up hang")
    return Passed(judge="cuda", checks=checks)

def judge_all(jobs, context, *, workers, limits=LIMITS, incumbent=None, race=Race(), calibrated=False):
    for index, job in enumerate(jobs):
        _note("judge " + str(hash(job.kernel.source)))
        verdict = _verdict(job.kernel.source)
        timing = _made_up(job.problem, context, race.repeat) if verdict.verdict == "passed" else None
        yield index, JudgedKernel(verdict=verdict, timing=timing)

def measure_finalists(finalists, context, *, plan=FinalsPlan(), workers=2, limits=LIMITS, failed=()):
    _note("finals " + " ".join(sorted(finalists)))
    problem = next(iter(finalists.values())).problem
    names = [*finalists, *plan.baselines]
    return Finals(
        timings={name: _made_up(problem, context) for name in names},
        verdicts={name: _verdict(job.kernel.source) for name, job in finalists.items()},
    )
""",
    "kopt/device/cuda/finals.py": """
CompiledAhead.compile_next = lambda self, problem, gpu: False
""",
    "kopt/device/ncu/count.py": """
def _each(self, wait_s=WAIT_S):
    import random
    from kopt.device.cuda.judge import _note
    from kopt.device.ncu.csv import parse
    for job in self._waiting:
        _note("counters")
        text = (Path(__file__).parents[2] / "h100_one_launch.csv").read_text()
        launches = tuple(
            one.model_copy(update={"metrics": one.metrics | {"sm__cycles_active.avg": random.SystemRandom().random()}})
            for one in parse(text)
        )
        yield Counted(launches=launches, csv=text)

Counting._start = lambda self, most: None
Counting.each = _each
""",
}
"""What is appended to modules of the copy, by their paths."""
VERSIONS = {
    "kopt/__init__.py": """
import importlib.metadata as _metadata
_installed = _metadata.version
_metadata.version = lambda name: {"torch": "9.1.0", "triton": "9.2.0"}.get(name) or _installed(name)
"""
}
"""What is appended so that the copy says it has other versions of torch and Triton."""


def with_stand_in(project: Any, *, versions: bool = False) -> Any:
    """Give a copy of the project the stand-in."""
    for name, text in (ADDED | (VERSIONS if versions else {})).items():
        path = project.folder / name
        path.write_text(path.read_text() + "\n\n" + text)
    fixture = Path(__file__).parents[1] / "device" / "ncu_fixtures" / "h100_one_launch.csv"
    (project.folder / "kopt" / fixture.name).write_bytes(fixture.read_bytes())
    return project


def kopt(project: Any, *words: str, gpu: str = "", log: Path = NOWHERE) -> subprocess.CompletedProcess[str]:
    """Run kopt in a project's folder as on a machine of its own: own home and caches, a made-up GPU or none."""
    home = project.folder / "home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), GPU: gpu, LOG: str(log),
        "PYTHONPATH": str(project.folder), "PYTHONHASHSEED": str(secrets.randbelow(1000)),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "kopt.cli", *words], cwd=project.folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
