# Why the parents are slow, and what to try: the next round's directions.


rule profile:
    input:
        selection=rules.select.output.selection,
        facts=FACTS,
        device=DEVICE,
    output:
        profile=expand(
            f"{RUN}/round_{{{{round}}}}/profile/{{parent}}.json", parent=PARENTS
        ),
    log:
        f"{RUN}/logs/round_{{round}}/profile.log",
    resources:
        gpu=GPU,
    params:
        code=code("profile"),
        settings=settings("effective_judge"),
    shell:
        f"{SCRIPT}/profile.py selection={{input.selection}} facts={{input.facts}} device={{input.device}} "
        f"settings={{params.settings:q}} store={CONFIG.store} profiles={{output.profile}} log={{log}}"


rule diagnose:
    input:
        selection=rules.select.output.selection,
        profiles=rules.profile.output.profile,
        facts=FACTS,
        device=DEVICE,
    output:
        diagnosis=expand(
            f"{RUN}/round_{{{{round}}}}/diagnosis/{{parent}}.json", parent=PARENTS
        ),
    log:
        f"{RUN}/logs/round_{{round}}/diagnose.log",
    params:
        code=code("diagnose"),
        settings=settings("num_bottlenecks", "effective_judge"),
    shell:
        f"{SCRIPT}/diagnose.py selection={{input.selection}} profiles={{input.profiles}} facts={{input.facts}} "
        f"device={{input.device}} settings={{params.settings:q}} store={CONFIG.store} "
        "diagnoses={output.diagnosis} log={log}"
