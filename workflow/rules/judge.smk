# Find a verdict and a time for each candidate: compile without a GPU, then judge the new kernels.

from kopt.search.screen import ScreenSettings
from kopt.stages.compile import CompileSettings
from kopt.stages.evaluate import EvaluateSettings
from kopt.stages.rank import RankSettings


rule compile:
    input:
        candidates=f"{RUN}/round_{{round}}/attempt_0/candidates.parquet",
        earlier=lambda w: earlier("builds", w.round, 0),
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
    output:
        builds=f"{RUN}/round_{{round}}/attempt_0/builds.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_builds.txt",
        records=directory(f"{RUN}/round_{{round}}/attempt_0/builds"),
    log:
        f"{RUN}/logs/round_{{round}}/compile_0.log",
    wildcard_constraints:
        round=r"[1-9]\d*",
    group:
        GROUPS.get("build")
    threads: BUILD_CORES
    resources:
        **needs(SETTINGS.fan_out, CONFIG.limits.build_seconds, BUILD_CORES),
    params:
        **step("compile", CompileSettings, chunks=chunks(0)),
    shell:
        run("compile")


use rule compile as compile_seed with:
    input:
        candidates=rules.seed.output.candidates,
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
    output:
        builds=f"{RUN}/round_0/attempt_0/builds.parquet",
        failed=f"{RUN}/round_0/attempt_0/failed_builds.txt",
        records=directory(f"{RUN}/round_0/attempt_0/builds"),
    log:
        f"{RUN}/logs/round_0/compile_0.log",
    group:
        GROUPS["build"].format(round=0) if "build" in GROUPS else None
    params:
        **step("compile", CompileSettings, chunks=1),


rule compile_repair:
    input:
        candidates=f"{RUN}/round_{{round}}/attempt_{{attempt}}/candidates.parquet",
        earlier=lambda w: earlier("builds", w.round, w.attempt),
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
        to_repair=failed_before,
        empty=[rules.problem.output.builds, rules.problem.output.failed],
    output:
        builds=f"{RUN}/round_{{round}}/attempt_{{attempt}}/builds.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_builds.txt",
    log:
        f"{RUN}/logs/round_{{round}}/compile_{{attempt}}.log",
    wildcard_constraints:
        attempt=r"[1-9]\d*",
    group:
        GROUPS.get("repair")
    threads: BUILD_CORES
    resources:
        **needs(SETTINGS.fan_out, CONFIG.limits.build_seconds, BUILD_CORES),
    params:
        **step("compile", CompileSettings, chunks=lambda w: chunks(w.attempt)),
    shell:
        if_failed(
            run("compile"),
            ("builds.parquet", "{output.builds}"),
            ("failed.txt", "{output.failed}"),
        )


# The kernel to beat, which takes part in each race where times are measured.
INCUMBENT = previous("selection.parquet") if BACKEND.measures else []
JUDGED = (
    SETTINGS.chunk_size,
    CONFIG.limits.judge_seconds,
)  # kernels of a job, and limit of one
EVALUATE_THREADS = BACKEND.evaluate_threads(CORES, CONFIG.workers_per_gpu)


# Kernels that need not be judged, by their estimates; a run without the setting has no such rule.
if SCREENS:

    rule screen:
        input:
            builds=f"{RUN}/round_{{round}}/attempt_0/builds.parquet",
            measured=lambda w: [
                table for r in range(int(w.round)) for table in all_evaluations(r)
            ],
            parents=previous("selection.parquet"),
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            screen=f"{RUN}/round_{{round}}/attempt_0/screen.parquet",
        log:
            f"{RUN}/logs/round_{{round}}/screen.log",
        wildcard_constraints:
            round=r"[1-9]\d*",
        group:
            GROUPS.get("judge")
        localrule: "judge" not in GROUPS
        resources:
            **needs(SETTINGS.fan_out, 1),
        params:
            **step("screen", ScreenSettings),
        shell:
            run("screen")


rule evaluate:
    input:
        builds=f"{RUN}/round_{{round}}/attempt_0/builds.parquet",
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
        incumbent=INCUMBENT,
        screen=screened,
    output:
        evaluation=f"{RUN}/round_{{round}}/attempt_0/evaluation_{{chunk}}.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_{{chunk}}.txt",
    log:
        f"{RUN}/logs/round_{{round}}/evaluate_0_{{chunk}}.log",
    group:
        GROUPS.get("judge")
    threads: EVALUATE_THREADS
    resources:
        **needs(*JUDGED, gpu=GPU),
    params:
        **step("evaluate", EvaluateSettings, finalists=ranked),
    shell:
        run("evaluate")


rule evaluate_repair:
    input:
        builds=f"{RUN}/round_{{round}}/attempt_{{attempt}}/builds.parquet",
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
        incumbent=INCUMBENT,
        to_repair=failed_before,
        empty=[rules.problem.output.evaluations, rules.problem.output.failed],
    output:
        evaluation=f"{RUN}/round_{{round}}/attempt_{{attempt}}/evaluation_{{chunk}}.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_{{chunk}}.txt",
    log:
        f"{RUN}/logs/round_{{round}}/evaluate_{{attempt}}_{{chunk}}.log",
    wildcard_constraints:
        attempt=r"[1-9]\d*",
    group:
        GROUPS.get("repair")
    threads: EVALUATE_THREADS
    resources:
        **needs(*JUDGED, gpu=GPU, gpus=gpus_of_repair),
    params:
        **step("evaluate", EvaluateSettings, finalists=0),
    shell:
        if_failed(
            run("evaluate"),
            ("evaluation.parquet", "{output.evaluation}"),
            ("failed.txt", "{output.failed}"),
        )


rule rank:
    input:
        selection=previous("selection.parquet"),
        candidates=lambda w: tables("candidates", w.round),
        evaluations=lambda w: all_evaluations(w.round),
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
    output:
        ranking=f"{RUN}/round_{{round}}/ranking.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/rank.log",
    group:
        GROUPS.get("choose")
    localrule: not GPU
    resources:
        **needs(CONFIG.finalists, CONFIG.limits.judge_seconds, gpu=GPU),
    params:
        **step("rank", RankSettings),
    shell:
        run("rank")
