# Classify the kernels of the pool, and select the next round's parents.

from kopt.stages.classify import ClassifySettings
from kopt.stages.select import SelectSettings

# How often facts and model agree on techniques, in a run where both classify.
AGREEMENT = (
    [f"{RUN}/round_{{round}}/agreement.json"]
    if SETTINGS.classification == "both"
    else []
)


rule classify:
    input:
        ranking=rules.rank.output.ranking,
        known=previous("techniques.parquet"),
        device=DEVICE,
        models=MODELS if SETTINGS.classifier else [],
    output:
        techniques=f"{RUN}/round_{{round}}/techniques.parquet",
        agreement=AGREEMENT,
        costs=costs("classify", SETTINGS.classifier),
    log:
        f"{RUN}/logs/round_{{round}}/classify.log",
    group:
        GROUPS.get("choose")
    resources:
        **needs(CONFIG.candidate_pool_size, 1),
    params:
        **step(
            "classify",
            ClassifySettings,
            asks=SETTINGS.classifier,
            files=[CHECKED.taxonomy_file],
            taxonomy=CHECKED.taxonomy_file,
            labels=lambda w: f"r{w.round}c",
        ),
    shell:
        run("classify")


rule select:
    input:
        ranking=rules.rank.output.ranking,
        techniques=rules.classify.output.techniques,
        previous=previous("round.json"),
        previous_archive=previous("archive.json"),
        candidates=lambda w: tables("candidates", w.round),
        builds=lambda w: tables("builds", w.round),
        evaluations=lambda w: all_evaluations(w.round),
    output:
        selection=f"{RUN}/round_{{round}}/selection.parquet",
        archive=f"{RUN}/round_{{round}}/archive.json",
        summary=f"{RUN}/round_{{round}}/round.json",
    log:
        f"{RUN}/logs/round_{{round}}/select.log",
    group:
        GROUPS.get("choose")
    resources:
        **needs(1, 1),
    params:
        **step("select", SelectSettings, loads=[STRATEGY]),
    shell:
        run("select")
