# Why the parents are slow, and what to try: the next round's directions.


PROFILES = expand(f"{RUN}/round_{{{{round}}}}/profile/{{parent}}.json", parent=PARENTS)

if CUDA:

    # A parent has a job of its own, since counters are read for ten seconds and more.
    rule profile:
        input:
            selection=rules.select.output.selection,
            scene=SCENE,
        output:
            profile=f"{RUN}/round_{{round}}/profile/{{parent}}.json",
            counters=f"{RUN}/round_{{round}}/profile/{{parent}}.csv",
        log:
            f"{RUN}/logs/round_{{round}}/profile_{{parent}}.log",
        resources:
            gpu=GPU,
        params:
            code=code("profile", "profile_cuda", "gpu_settings"),
            settings=JUDGE_SETTINGS,
        shell:
            f"{SCRIPT}/profile.py parent={{wildcards.parent}} selection={{input.selection}} scene={{input.scene}} "
            f"settings={{params.settings:q}} store={CONFIG.store} profiles={{output.profile}} "
            "counters={output.counters} log={log}"

else:

    rule profile:
        input:
            selection=rules.select.output.selection,
            facts=FACTS,
            device=DEVICE,
        output:
            profile=PROFILES,
        log:
            f"{RUN}/logs/round_{{round}}/profile.log",
        params:
            code=code("profile"),
            settings=settings("effective_judge"),
        shell:
            f"{SCRIPT}/profile.py selection={{input.selection}} facts={{input.facts}} device={{input.device}} "
            f"settings={{params.settings:q}} store={CONFIG.store} profiles={{output.profile}} log={{log}}"


rule brief:
    input:
        selection=rules.select.output.selection,
        summary=rules.select.output.summary,
        ranking=rules.rank.output.ranking,
        techniques=rules.classify.output.techniques,
        profiles=PROFILES,
        candidates=lambda w: tables("candidates", w.round),
        builds=lambda w: tables("builds", w.round),
        evaluations=lambda w: all_evaluations(w.round),
        parents=previous("selection.parquet"),
        before=briefing(1),
        problem=rules.problem.output.problem,
        facts=FACTS,
        device=DEVICE,
        taxonomy=CHECKED.taxonomy_file,
        models=MODELS,
        baseline=BASELINE,
    output:
        briefing=f"{RUN}/round_{{round}}/briefing.json",
        costs=costs("brief", CONFIG.reflector),
    log:
        f"{RUN}/logs/round_{{round}}/brief.log",
    params:
        code=code("brief", *BILL),
        settings=settings("reflector", *ASKING),
    shell:
        f"{SCRIPT}/brief.py selection={{input.selection}} summary={{input.summary}} ranking={{input.ranking}} "
        "techniques={input.techniques} profiles={input.profiles} candidates={input.candidates} "
        "builds={input.builds} evaluations={input.evaluations} parents={input.parents} before={input.before} "
        "problem={input.problem} facts={input.facts} device={input.device} taxonomy={input.taxonomy} "
        "baseline={input.baseline} "
        f"{ASKED} labels=r{{wildcards.round}}reflect settings={{params.settings:q}} store={CONFIG.store} "
        "briefing={output.briefing} log={log}"


rule diagnose:
    input:
        selection=rules.select.output.selection,
        profiles=PROFILES,
        briefing=briefing(0),
        facts=FACTS,
        device=DEVICE,
        models=MODELS,
    output:
        diagnosis=expand(
            f"{RUN}/round_{{{{round}}}}/diagnosis/{{parent}}.json", parent=PARENTS
        ),
        costs=costs("diagnose", CONFIG.diagnoser),
    log:
        f"{RUN}/logs/round_{{round}}/diagnose.log",
    params:
        code=code("diagnose", *BILL),
        settings=settings("num_bottlenecks", "effective_judge", "diagnoser", *ASKING),
    shell:
        f"{SCRIPT}/diagnose.py selection={{input.selection}} profiles={{input.profiles}} facts={{input.facts}} "
        f"device={{input.device}} briefing={{input.briefing}} {ASKED} labels=r{{wildcards.round}}d "
        f"settings={{params.settings:q}} store={CONFIG.store} diagnoses={{output.diagnosis}} log={{log}}"
