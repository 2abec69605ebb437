# The problem as one value, its facts, and the seed as round 0's only candidate.

PROBLEM = CHECKED.problem_folder
DEVICE = f"{RUN}/device.json"
FACTS = f"{RUN}/facts.json"

# What a measurement on a GPU needs, in this order, and what it is compared to; nothing without a GPU.
SCENE = [f"{RUN}/problem.json", FACTS, DEVICE] if CUDA else []
BASELINE = [f"{RUN}/baseline.json"] if CUDA else []
MEASURING = [
    "seed",
    "limits",
    "benchmark_warmup",
    "benchmark_repeat",
    "workers_per_gpu",
]


# Language models that cannot be asked end a run before it does anything: what begins it waits for their check.
rule problem:
    input:
        files=CHECKED.problem_files,
        device=CHECKED.device_file,
        models=ancient(MODELS),
    output:
        problem=f"{RUN}/problem.json",
        facts=FACTS,
        device=[] if CUDA else DEVICE,
        candidates=f"{RUN}/empty/candidates.parquet",
        builds=f"{RUN}/empty/builds.parquet",
        evaluations=f"{RUN}/empty/evaluation.parquet",
        failed=f"{RUN}/empty/failed.txt",
        costs=[f"{RUN}/empty/costs.parquet"] if MODELS else [],
    log:
        f"{RUN}/logs/problem.log",
    params:
        code=code("problem"),
        settings=settings("effective_judge"),
    shell:
        f"{SCRIPT}/problem.py folder={PROBLEM} device={{input.device}} settings={{params.settings:q}} "
        f"store={CONFIG.store} problem={{output.problem}} facts={{output.facts}} description={{output.device}} "
        "candidates={output.candidates} builds={output.builds} evaluations={output.evaluations} "
        "failed={output.failed} costs={output.costs} log={log}"


# The GPU that is there, described and measured, in place of a description.
if CUDA:

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
            code=code("jobs.on_gpu", script="device"),
            settings=settings("limits"),
        shell:
            f"{SCRIPT}/device.py settings={{params.settings:q}} store={CONFIG.store} device={{output.device}} log={{log}}"


rule seed:
    input:
        problem=rules.problem.output.problem,
    output:
        candidates=f"{RUN}/round_0/attempt_0/candidates.parquet",
        source=f"{RUN}/round_0/attempt_0/candidates/0.py",
    log:
        f"{RUN}/logs/seed.log",
    params:
        code=code("seed"),
    shell:
        f"{SCRIPT}/seed.py problem={{input.problem}} store={CONFIG.store} candidates={{output.candidates}} "
        "source={output.source} log={log}"
