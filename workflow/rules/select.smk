# Which kernels become parents: technique vectors, then a pure choice.


rule classify:
    input:
        ranking=rules.rank.output.ranking,
        known=previous("techniques.parquet"),
        taxonomy=CHECKED.taxonomy_file,
        device=DEVICE,
    output:
        techniques=f"{RUN}/round_{{round}}/techniques.parquet",
    log:
        f"{RUN}/logs/round_{{round}}/classify.log",
    params:
        code=code("classify"),
        settings=settings("effective_judge"),
    shell:
        f"{SCRIPT}/classify.py ranking={{input.ranking}} known={{input.known}} taxonomy={{input.taxonomy}} "
        f"device={{input.device}} settings={{params.settings:q}} store={CONFIG.store} "
        "techniques={output.techniques} log={log}"


rule select:
    input:
        ranking=rules.rank.output.ranking,
        techniques=rules.classify.output.techniques,
        summary=previous("round.json"),
        candidates=lambda w: tables("candidates", w.round),
        builds=lambda w: tables("builds", w.round),
        evaluations=lambda w: all_evaluations(w.round),
    output:
        selection=f"{RUN}/round_{{round}}/selection.parquet",
        summary=f"{RUN}/round_{{round}}/round.json",
    log:
        f"{RUN}/logs/round_{{round}}/select.log",
    params:
        code=code("select"),
        settings=settings("candidate_pool_size", "clustering", "stop_share", "patience"),
    shell:
        f"{SCRIPT}/select.py round={{wildcards.round}} ranking={{input.ranking}} "
        "techniques={input.techniques} previous={input.summary} candidates={input.candidates} "
        "builds={input.builds} evaluations={input.evaluations} settings={params.settings:q} "
        "selection={output.selection} summary={output.summary} log={log}"
