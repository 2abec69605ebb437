# What the user takes home.

ROUNDS = range(LAST + 1)


OUTCOME = [f"{RUN}/outcome.json"] if CUDA else []

# What each job that asks language models has cost, in the order of a round.
COSTS = [
    *expand(rules.classify.output.costs, round=ROUNDS),
    *expand(rules.brief.output.costs, round=range(LAST)),
    *expand(rules.diagnose.output.costs, round=range(LAST)),
    *expand(rules.generate.output.costs, round=ROUNDS[1:]),
    *expand(
        rules.generate_repair.output.costs, round=ROUNDS[1:], attempt=attempts(1)[1:]
    ),
]

# The figures that are reported: fresh inputs, fresh processes, everything side by side.
if CUDA:

    rule outcome:
        input:
            selection=f"{RUN}/round_{LAST}/selection.parquet",
            scene=SCENE,
        output:
            outcome=OUTCOME,
        log:
            f"{RUN}/logs/outcome.log",
        resources:
            gpu=GPU,
        params:
            code=code("gpu_settings", script="outcome"),
            settings=settings("baselines", *MEASURING),
        shell:
            f"{SCRIPT}/outcome.py selection={{input.selection}} scene={{input.scene}} "
            f"settings={{params.settings:q}} store={CONFIG.store} outcome={{output.outcome}} log={{log}}"


# Inputs that grow with the rounds.
PER_ROUND = [
    "summaries",
    "selections",
    "rankings",
    "techniques",
    "candidates",
    "builds",
    "evaluations",
    "diagnoses",
    "briefings",
    "agreements",
    "costs",
]


rule finish:
    input:
        problem=rules.problem.output.problem,
        facts=FACTS,
        device=DEVICE,
        taxonomy=CHECKED.taxonomy_file,
        templates=sorted((ROOT / "kopt/report/templates").iterdir()),
        summaries=[f"{RUN}/round_{r}/round.json" for r in ROUNDS],
        selections=[f"{RUN}/round_{r}/selection.parquet" for r in ROUNDS],
        rankings=[f"{RUN}/round_{r}/ranking.parquet" for r in ROUNDS],
        techniques=[f"{RUN}/round_{r}/techniques.parquet" for r in ROUNDS],
        candidates=[table for r in ROUNDS for table in tables("candidates", r)],
        builds=[table for r in ROUNDS for table in tables("builds", r)],
        evaluations=[table for r in ROUNDS for table in all_evaluations(r)],
        outcome=OUTCOME,
        baseline=BASELINE,
        diagnoses=[
            f"{RUN}/round_{r}/diagnosis/{p}.json" for r in range(LAST) for p in PARENTS
        ],
        costs=COSTS,
        briefings=[f"{RUN}/round_{r}/briefing.json" for r in range(LAST) if MODELS],
        agreements=[path.format(round=r) for path in AGREEMENT for r in ROUNDS],
    output:  # an export of kopt.exports each, by name
        best=f"{RUN}/best_kernel.py",
        final=f"{RUN}/final.json",
        trials=f"{RUN}/trials.parquet",
        report=f"{RUN}/report.html",
        manifest=f"{RUN}/manifest.json",
    log:
        f"{RUN}/logs/finish.log",
    params:
        code=code("finish", *(["run.model_summary"] if MODELS else [])),
        settings=settings(*CHECKED.setting_names),
        files=lambda w, input: " ".join(brace_compressed(name, input[name]) for name in PER_ROUND),
        exports=lambda w, output: " ".join(f"{name}={path}" for name, path in output.items()),
    shell:
        f"{SCRIPT}/finish.py problem={{input.problem}} facts={{input.facts}} device={{input.device}} "
        "taxonomy={input.taxonomy} {params.files} outcome={input.outcome} "
        f"settings={{params.settings:q}} store={CONFIG.store} {{params.exports}} log={{log}}"
