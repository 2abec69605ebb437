# The problem as one value, its facts, and the seed as round 0's only candidate.

from kopt.stages.baseline import BaselineSettings
from kopt.stages.device import DeviceSettings
from kopt.stages.problem import ProblemSettings

PROBLEM = f"{RUN}/problem.json"
DEVICE = f"{RUN}/device.json"
FACTS = f"{RUN}/facts.json"
BASELINE = [f"{RUN}/baseline.json"] if BACKEND.measures else []


# Language models that cannot be asked end a run before it does anything: what begins it waits for their check.
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


# The GPU that is there, described and measured, in place of a description.
if BACKEND.measures:

    rule device:
        input:
            models=ancient(MODELS),
        output:
            device=DEVICE,
        log:
            f"{RUN}/logs/device.log",
        resources:
            gpu=GPU,
        params:
            **step("device", DeviceSettings),
        shell:
            run("device")

    # The reference as PyTorch runs it and compiles it, by the same clock as the candidates.
    rule baseline:
        input:
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            baseline=BASELINE,
        log:
            f"{RUN}/logs/baseline.log",
        resources:
            gpu=GPU,
        params:
            **step("baseline", BaselineSettings),
        shell:
            run("baseline")


rule seed:
    input:
        problem=PROBLEM,
    output:
        candidates=f"{RUN}/round_0/attempt_0/candidates.parquet",
        source=f"{RUN}/round_0/attempt_0/candidates/0.py",
    log:
        f"{RUN}/logs/seed.log",
    params:
        **step("seed"),
    shell:
        run("seed")
