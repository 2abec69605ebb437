# Who is asked what, and what they answer.


rule models:
    input:
        file=CHECKED.models_file,
    output:
        table=f"{RUN}/models.json",
    log:
        f"{RUN}/logs/models.log",
    params:
        code=code("models"),
        settings=settings("asked_models", "replies"),
    shell:
        f"{SCRIPT}/models.py file={{input.file}} settings={{params.settings:q}} store={CONFIG.store} "
        "table={output.table} log={log}"


rule expand:
    input:
        selection=previous("selection.parquet"),
        archive=previous("archive.json"),
        summary=previous("round.json"),
    output:
        slots=f"{RUN}/round_{{round}}/slots.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/expand.log",
    params:
        code=code("expand", *STRATEGY),
        settings=settings(
            "effective_strategy",
            "candidate_pool_size",
            "num_bottlenecks",
            "proposers",
            "samples_per_prompt",
        ),
    shell:
        f"{SCRIPT}/expand.py selection={{input.selection}} archive={{input.archive}} summary={{input.summary}} "
        "settings={params.settings:q} slots={output.slots} log={log}"


GENERATE = (
    f"{SCRIPT}/generate.py round={{wildcards.round}} attempt={{params.attempt}} slots={{input.slots}} "
    "selection={input.selection} diagnoses={input.diagnoses} facts={input.facts} device={input.device} "
    "earlier={input.earlier} builds={params.builds} evaluations={params.evaluations} "
    f"briefing={{input.briefing}} {ASKED} labels=r{{wildcards.round}}a{{params.attempt}}s settings={{params.settings:q}} store={CONFIG.store} "
    "candidates={output.candidates} failed={output.failed} sources={params.sources} log={log}"
)
GENERATE_CODE = code("generate", *(["generate_by_model"] if MODELS else []), *BILL)
GENERATE_SETTINGS = settings("seed", "max_repairs", *ASKING)


rule generate:
    input:
        slots=rules.expand.output.slots,
        selection=previous("selection.parquet"),
        diagnoses=lambda w: [
            f"{RUN}/round_{int(w.round) - 1}/diagnosis/{p}.json" for p in PARENTS
        ],
        facts=FACTS,
        device=DEVICE,
        briefing=briefing(1),
        models=MODELS,
        earlier=lambda w: earlier("candidates", w.round, 0),
    output:
        candidates=f"{RUN}/round_{{round,[1-9]\\d*}}/attempt_0/candidates.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_replies.txt",
        costs=costs("generate_0"),
        sources=directory(f"{RUN}/round_{{round}}/attempt_0/candidates"),
    log:
        f"{RUN}/logs/round_{{round}}/generate_0.log",
    params:
        code=GENERATE_CODE,
        settings=GENERATE_SETTINGS,
        attempt=0,
        builds="",
        evaluations="",
        sources=f"{RUN}/round_{{round}}/attempt_0/candidates",
    shell:
        GENERATE


rule generate_repair:
    input:
        slots=rules.expand.output.slots,
        selection=previous("selection.parquet"),
        diagnoses=rules.generate.input.diagnoses,
        facts=FACTS,
        device=DEVICE,
        briefing=briefing(1),
        models=MODELS,
        earlier=lambda w: earlier("candidates", w.round, w.attempt),
        builds=lambda w: f"{RUN}/round_{w.round}/attempt_{int(w.attempt) - 1}/builds.parquet",
        evaluations=lambda w: evaluations(w.round, int(w.attempt) - 1),
        failed=failed_before,
        empty=[
            rules.problem.output.candidates,
            rules.problem.output.failed,
            *rules.problem.output.costs,
        ],
    output:
        candidates=f"{RUN}/round_{{round}}/attempt_{{attempt,[1-9]\\d*}}/candidates.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_replies.txt",
        costs=costs("generate_{attempt}"),
    log:
        f"{RUN}/logs/round_{{round}}/generate_{{attempt}}.log",
    params:
        code=GENERATE_CODE,
        settings=GENERATE_SETTINGS,
        attempt=lambda w: w.attempt,
        builds=lambda w, input: input.builds,
        evaluations=lambda w, input: input.evaluations,
        sources="",
    shell:
        if_failed(
            GENERATE,
            ("candidates.parquet", "{output.candidates}"),
            ("failed.txt", "{output.failed}"),
            *(("costs.parquet", "{output.costs}") for _ in MODELS),
        )
