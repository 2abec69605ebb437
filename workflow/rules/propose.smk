# Who is asked what, and what they answer.


rule expand:
    input:
        selection=previous("selection.parquet"),
        summary=previous("round.json"),
    output:
        slots=f"{RUN}/round_{{round}}/slots.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/expand.log",
    params:
        code=code("expand"),
        settings=settings(
            "candidate_pool_size", "num_bottlenecks", "proposers", "samples_per_prompt"
        ),
    shell:
        f"{SCRIPT}/expand.py selection={{input.selection}} summary={{input.summary}} "
        "settings={params.settings:q} slots={output.slots} log={log}"


GENERATE = (
    f"{SCRIPT}/generate.py round={{wildcards.round}} attempt={{params.attempt}} slots={{input.slots}} "
    "selection={input.selection} diagnoses={input.diagnoses} facts={input.facts} device={input.device} "
    "earlier={input.earlier} builds={params.builds} evaluations={params.evaluations} "
    f"settings={{params.settings:q}} store={CONFIG.store} candidates={{output.candidates}} "
    "sources={params.sources} log={log}"
)


rule generate:
    input:
        slots=rules.expand.output.slots,
        selection=previous("selection.parquet"),
        diagnoses=lambda w: [
            f"{RUN}/round_{int(w.round) - 1}/diagnosis/{p}.json" for p in PARENTS
        ],
        facts=FACTS,
        device=DEVICE,
        earlier=lambda w: earlier("candidates", w.round, 0),
    output:
        candidates=f"{RUN}/round_{{round,[1-9]\\d*}}/attempt_0/candidates.parquet",
        sources=expand(
            f"{RUN}/round_{{{{round}}}}/attempt_0/candidates/{{slot}}.py",
            slot=slots(1),
        ),
    log:
        f"{RUN}/logs/round_{{round}}/generate_0.log",
    params:
        code=code("generate"),
        settings=settings("seed"),
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
        earlier=lambda w: earlier("candidates", w.round, w.attempt),
        builds=lambda w: f"{RUN}/round_{w.round}/attempt_{int(w.attempt) - 1}/builds.parquet",
        evaluations=lambda w: evaluations(w.round, int(w.attempt) - 1),
        failed=failed_before,
        empty=rules.problem.output.candidates,
    output:
        candidates=f"{RUN}/round_{{round}}/attempt_{{attempt,[1-9]\\d*}}/candidates.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/generate_{{attempt}}.log",
    params:
        code=code("generate"),
        settings=settings("seed"),
        attempt=lambda w: w.attempt,
        builds=lambda w, input: input.builds,
        evaluations=lambda w, input: input.evaluations,
        sources="",
    shell:
        if_failed(GENERATE, ("candidates.parquet", "{output.candidates}"))
