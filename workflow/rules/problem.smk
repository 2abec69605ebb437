# Read the problem and its facts, describe the device, and make round 0's candidates, the seed kernels.

from kopt.stages.baseline import BaselineSettings
from kopt.stages.device import DeviceSettings
from kopt.stages.problem import ProblemSettings

PROBLEM = f"{RUN}/problem.json"
DEVICE = f"{RUN}/device.json"
FACTS = f"{RUN}/facts.json"
BASELINE = [f"{RUN}/baseline.json"] if BACKEND.measures else []


# The first jobs wait for the check of the language models, so that a model that cannot be asked ends the run at once.
rule problem:
    input:
        models=ancient(MODELS),
    output:
        problem=PROBLEM,
        facts=FACTS,
        device=[] if BACKEND.measures else DEVICE,
        candidates=f"{RUN}/empty/candidates.parquet",
        builds=f"{RUN}/empty/builds.parquet",
        evaluations=f"{RUN}/empty/evaluation.parquet",
        failed=f"{RUN}/empty/failed.txt",
        costs=[f"{RUN}/empty/costs.parquet"] if MODELS else [],
    log:
        f"{RUN}/logs/problem.log",
    params:
        **step(
            "problem",
            ProblemSettings,
            files=[*CHECKED.problem_files, CHECKED.device_file],
            folder=CHECKED.problem_folder,
            description=CHECKED.device_file,
        ),
    shell:
        run("problem")


# With GPUs, describe and measure the run's GPU instead of reading a description.
if BACKEND.measures:

    rule device:
        input:
            models=ancient(MODELS),
        output:
            device=DEVICE,
        log:
            f"{RUN}/logs/device.log",
        resources:
            **needs(1, submitted.LONG_S, gpu=GPU),
        params:
            **step("device", DeviceSettings),
        shell:
            run("device")

    # The reference, eager and compiled, is timed by the method that times candidates, after the first verdict.  The job
    # imports and compiles for long and leaves its GPU to the rounds meanwhile: locally it counts as none of `gpu=N`, so
    # that they need not wait for its end.
    rule baseline:
        input:
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
            after=ancient(all_evaluations(0)),
        output:
            baseline=BASELINE,
        log:
            f"{RUN}/logs/baseline.log",
        resources:
            **needs(
                subject_count(CONFIG.baselines) + 1,
                submitted.LONG_S,
                gpu=GPU if SUBMITS else 0,
            ),
        params:
            **step("baseline", BaselineSettings),
        shell:
            run("baseline")


rule seed:
    input:
        problem=PROBLEM,
        device=[DEVICE] if CONFIG.second_seed else [],
    output:
        candidates=f"{RUN}/round_0/attempt_0/candidates.parquet",
        source=f"{RUN}/round_0/attempt_0/candidates/0.py",
        second=(
            [f"{RUN}/round_0/attempt_0/candidates/1.py"] if CONFIG.second_seed else []
        ),
    log:
        f"{RUN}/logs/seed.log",
    params:
        **step("seed"),
    shell:
        run("seed")
