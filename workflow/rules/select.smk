# Which kernels become parents: technique vectors, then a pure choice.


# How far facts and model agree on techniques: only where both are asked.
AGREEMENT = (
    [f"{RUN}/round_{{round}}/agreement.json"] if CONFIG.classification == "both" else []
)
CLASSIFIER = (
    ["classifier", "classification", "technique_clustering", "asking"]
    if CONFIG.classifier
    else ["classifier"]
)


rule classify:
    input:
        ranking=rules.rank.output.ranking,
        known=previous("techniques.parquet"),
        taxonomy=CHECKED.taxonomy_file,
        device=DEVICE,
        models=MODELS if CONFIG.classifier else [],
    output:
        techniques=f"{RUN}/round_{{round}}/techniques.parquet",
        agreement=AGREEMENT,
        costs=costs("classify", CONFIG.classifier),
    log:
        f"{RUN}/logs/round_{{round}}/classify.log",
    params:
        code=code(
            "classify", *(["classify_by_model", *BILL] if CONFIG.classifier else [])
        ),
        settings=settings("effective_judge", *CLASSIFIER),
    shell:
        f"{SCRIPT}/classify.py ranking={{input.ranking}} known={{input.known}} taxonomy={{input.taxonomy}} "
        f"device={{input.device}} round={{wildcards.round}} {ASKED} labels=r{{wildcards.round}}c settings={{params.settings:q}} "
        f"store={CONFIG.store} techniques={{output.techniques}} agreement={{output.agreement}} log={{log}}"


rule select:
    input:
        ranking=rules.rank.output.ranking,
        techniques=rules.classify.output.techniques,
        summary=previous("round.json"),
        archive=previous("archive.json"),
        candidates=lambda w: tables("candidates", w.round),
        builds=lambda w: tables("builds", w.round),
        evaluations=lambda w: all_evaluations(w.round),
    output:
        selection=f"{RUN}/round_{{round}}/selection.parquet",
        archive=f"{RUN}/round_{{round}}/archive.json",
        summary=f"{RUN}/round_{{round}}/round.json",
    log:
        f"{RUN}/logs/round_{{round}}/select.log",
    params:
        code=code("select", *STRATEGY),
        settings=settings(
            "effective_strategy",
            "candidate_pool_size",
            "clustering",
            "stop_share",
            "patience",
        ),
    shell:
        f"{SCRIPT}/select.py round={{wildcards.round}} ranking={{input.ranking}} "
        "techniques={input.techniques} previous={input.summary} previous_archive={input.archive} candidates={input.candidates} "
        "builds={input.builds} evaluations={input.evaluations} settings={params.settings:q} "
        "selection={output.selection} archive={output.archive} summary={output.summary} log={log}"
