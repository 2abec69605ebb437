# Profile and diagnose the parents: find the next round's directions.

from kopt.stages.brief import BriefSettings
from kopt.stages.diagnose import DiagnoseSettings
from kopt.stages.profile import ProfileSettings

PROFILES = expand(f"{RUN}/round_{{{{round}}}}/profile/{{parent}}.json", parent=PARENTS)
COUNTERS = expand(f"{RUN}/round_{{{{round}}}}/profile/{{parent}}.csv", parent=PARENTS)

# Parents that one job profiles: while the counters of one are read, the program of the next one starts.
TOGETHER = 4

if BACKEND.measures and len(PARENTS) > TOGETHER:

    # Each of many parents has a job of its own, so that several GPUs share the work.
    rule profile:
        input:
            selection=rules.select.output.selection,
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            profiles=f"{RUN}/round_{{round}}/profile/{{parent}}.json",
            counters=f"{RUN}/round_{{round}}/profile/{{parent}}.csv",
        log:
            f"{RUN}/logs/round_{{round}}/profile_{{parent}}.log",
        group:
            GROUPS.get("choose")
        resources:
            **needs(1, CONFIG.limits.profile_seconds, gpu=GPU),
        params:
            **step("profile", ProfileSettings, first=lambda w: w.parent),
        shell:
            run("profile")

else:

    rule profile:
        input:
            selection=rules.select.output.selection,
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            profiles=PROFILES,
            counters=COUNTERS if GPU else [],
        log:
            f"{RUN}/logs/round_{{round}}/profile.log",
        group:
            GROUPS.get("choose")
        localrule: not GPU
        resources:
            **needs(len(PARENTS), CONFIG.limits.profile_seconds, gpu=GPU),
        params:
            **step("profile", ProfileSettings, first=0),
        shell:
            run("profile")


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
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
        models=MODELS,
        baseline=BASELINE,
    output:
        briefing=f"{RUN}/round_{{round}}/briefing.json",
        costs=costs("brief", SETTINGS.reflector),
    log:
        f"{RUN}/logs/round_{{round}}/brief.log",
    params:
        **step(
            "brief",
            BriefSettings,
            asks=MODELS,
            files=[CHECKED.taxonomy_file],
            taxonomy=CHECKED.taxonomy_file,
            labels=lambda w: f"r{w.round}reflect",
        ),
    shell:
        run("brief")


rule diagnose:
    input:
        selection=rules.select.output.selection,
        profiles=PROFILES,
        briefing=briefing(0),
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
        models=MODELS,
    output:
        diagnoses=expand(
            f"{RUN}/round_{{{{round}}}}/diagnosis/{{parent}}.json", parent=PARENTS
        ),
        costs=costs("diagnose", SETTINGS.diagnoser),
    log:
        f"{RUN}/logs/round_{{round}}/diagnose.log",
    params:
        **step(
            "diagnose",
            DiagnoseSettings,
            asks=MODELS,
            labels=lambda w: f"r{w.round}d",
        ),
    shell:
        run("diagnose")
