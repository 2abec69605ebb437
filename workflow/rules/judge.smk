# From source text to a verdict and a time: compile without a GPU, then evaluate what is new.

COMPILE = (
    f"{SCRIPT}/compile.py candidates={{input.candidates}} earlier={{input.earlier}} problem={{input.problem}} "
    "device={input.device} chunks={params.chunks} settings={params.settings:q} threads={threads} "
    f"store={CONFIG.store} builds={{output.builds}} failed={{output.failed}} records={{params.records}} log={{log}}"
)


rule compile:
    input:
        candidates=f"{RUN}/round_{{round}}/attempt_0/candidates.parquet",
        earlier=lambda w: earlier("builds", w.round, 0),
        problem=rules.problem.output.problem,
        device=DEVICE,
    output:
        builds=f"{RUN}/round_{{round,[1-9]\\d*}}/attempt_0/builds.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_builds.txt",
        records=directory(f"{RUN}/round_{{round}}/attempt_0/builds"),
    log:
        f"{RUN}/logs/round_{{round}}/compile_0.log",
    threads: workflow.cores
    params:
        code=code("compile"),
        settings=settings("effective_judge", "limits"),
        chunks=CONFIG.chunks(0),
        records=lambda w, output: output.records,
    shell:
        COMPILE


use rule compile as compile_seed with:
    input:
        candidates=rules.seed.output.candidates,
        earlier=[],
        problem=rules.problem.output.problem,
        device=DEVICE,
    output:
        builds=f"{RUN}/round_0/attempt_0/builds.parquet",
        failed=f"{RUN}/round_0/attempt_0/failed_builds.txt",
        records=directory(f"{RUN}/round_0/attempt_0/builds"),
    log:
        f"{RUN}/logs/round_0/compile_0.log",
    params:
        code=code("compile"),
        settings=settings("effective_judge", "limits"),
        chunks=1,
        records=lambda w, output: output.records,


rule compile_repair:
    input:
        candidates=f"{RUN}/round_{{round}}/attempt_{{attempt}}/candidates.parquet",
        earlier=lambda w: earlier("builds", w.round, w.attempt),
        problem=rules.problem.output.problem,
        device=DEVICE,
        failed=failed_before,
        empty=[rules.problem.output.builds, rules.problem.output.failed],
    output:
        builds=f"{RUN}/round_{{round}}/attempt_{{attempt,[1-9]\\d*}}/builds.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_builds.txt",
    log:
        f"{RUN}/logs/round_{{round}}/compile_{{attempt}}.log",
    threads: workflow.cores
    params:
        code=code("compile"),
        settings=settings("effective_judge", "limits"),
        chunks=lambda w: CONFIG.chunks(int(w.attempt)),
        records="",
    shell:
        if_failed(
            COMPILE,
            ("builds.parquet", "{output.builds}"),
            ("failed.txt", "{output.failed}"),
        )


EVALUATE = (
    f"{SCRIPT}/evaluate.py chunk={{wildcards.chunk}} builds={{input.builds}} problem={{input.problem}} "
    "facts={input.facts} device={input.device} incumbent={input.incumbent} settings={params.settings:q} "
    "threads={threads} "
    f"store={CONFIG.store} evaluation={{output.evaluation}} failed={{output.failed}} log={{log}}"
)
# What a GPU judge is told beside what every judge is: how long to time, and which kernel to race against.
TIMING = ["benchmark_warmup", "benchmark_repeat", "workers_per_gpu"] if CUDA else []
JUDGE_SETTINGS = settings("effective_judge", "limits", "seed", *TIMING)
JUDGE_CODE = code("evaluate", *(["gpu_settings"] if CUDA else []))
INCUMBENT = previous("selection.parquet") if CUDA else []


rule evaluate:
    input:
        builds=f"{RUN}/round_{{round}}/attempt_0/builds.parquet",
        problem=rules.problem.output.problem,
        facts=FACTS,
        device=DEVICE,
        incumbent=INCUMBENT,
    output:
        evaluation=f"{RUN}/round_{{round}}/attempt_0/evaluation_{{chunk}}.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_{{chunk}}.txt",
    log:
        f"{RUN}/logs/round_{{round}}/evaluate_0_{{chunk}}.log",
    threads: CHECKED.evaluate_threads(workflow.cores)
    resources:
        gpu=GPU,
    params:
        code=JUDGE_CODE,
        settings=JUDGE_SETTINGS,
    shell:
        EVALUATE


rule evaluate_repair:
    input:
        builds=f"{RUN}/round_{{round}}/attempt_{{attempt}}/builds.parquet",
        problem=rules.problem.output.problem,
        facts=FACTS,
        device=DEVICE,
        incumbent=INCUMBENT,
        failed=failed_before,
        empty=[rules.problem.output.evaluations, rules.problem.output.failed],
    output:
        evaluation=f"{RUN}/round_{{round}}/attempt_{{attempt,[1-9]\\d*}}/evaluation_{{chunk}}.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_{{chunk}}.txt",
    log:
        f"{RUN}/logs/round_{{round}}/evaluate_{{attempt}}_{{chunk}}.log",
    threads: CHECKED.evaluate_threads(workflow.cores)
    resources:
        gpu=GPU,
    params:
        code=JUDGE_CODE,
        settings=JUDGE_SETTINGS,
    shell:
        if_failed(
            EVALUATE,
            ("evaluation.parquet", "{output.evaluation}"),
            ("failed.txt", "{output.failed}"),
        )


rule rank:
    input:
        selection=previous("selection.parquet"),
        candidates=lambda w: tables("candidates", w.round),
        evaluations=lambda w: all_evaluations(w.round),
        scene=SCENE,
    output:
        ranking=f"{RUN}/round_{{round}}/ranking.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/rank.log",
    resources:
        gpu=GPU,
    params:
        code=code("rank", *(["gpu_settings"] if CUDA else [])),
        settings=settings(
            "effective_judge", *(["finalists", *MEASURING] if CUDA else [])
        ),
    shell:
        f"{SCRIPT}/rank.py round={{wildcards.round}} selection={{input.selection}} candidates={{input.candidates}} "
        f"evaluations={{input.evaluations}} scene={{input.scene}} settings={{params.settings:q}} store={CONFIG.store} "
        "ranking={output.ranking} log={log}"


# The reference as PyTorch runs it and compiles it, by the same clock as the candidates.
if CUDA:

    rule baseline:
        input:
            scene=SCENE,
        output:
            baseline=BASELINE,
        log:
            f"{RUN}/logs/baseline.log",
        resources:
            gpu=GPU,
        params:
            code=code("gpu_settings", script="baseline"),
            settings=settings("baselines", *MEASURING),
        shell:
            f"{SCRIPT}/baseline.py scene={{input.scene}} settings={{params.settings:q}} store={CONFIG.store} "
            "baseline={output.baseline} log={log}"
