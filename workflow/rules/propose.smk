# Share out the slots of a round, and ask the proposers for candidates.

from kopt.stages.expand import ExpandSettings
from kopt.stages.generate_settings import GenerateSettings, ExperienceSettings
from kopt.stages.models import ModelsSettings


rule models:
    output:
        table=f"{RUN}/models.json",
    log:
        f"{RUN}/logs/models.log",
    params:
        **step(
            "models",
            ModelsSettings,
            files=[CHECKED.models_file],
            file=CHECKED.models_file,
        ),
    shell:
        run("models")


# What earlier runs found is written once, so that the run does not change with the store.
EXPERIENCE = (
    [f"{RUN}/experience.json"] if LEARNS and CONFIG.experience != "none" else []
)

if EXPERIENCE:

    rule experience:
        input:
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            experience=EXPERIENCE,
        log:
            f"{RUN}/logs/experience.log",
        localrule: True
        params:
            **step(
                "experience",
                ExperienceSettings,
                files=CHECKED.experience_files,
                file=" ".join(map(str, CHECKED.experience_files)),
            ),
        shell:
            run("experience")


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
        **step("expand", ExpandSettings, loads=[STRATEGY]),
    shell:
        run("expand")


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
        tried_builds=tried_builds,
        tried_evaluations=tried_evaluations,
        experience=EXPERIENCE,
    output:
        candidates=f"{RUN}/round_{{round}}/attempt_0/candidates.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_0/failed_replies.txt",
        costs=costs("generate_0"),
        sources=directory(f"{RUN}/round_{{round}}/attempt_0/candidates"),
    log:
        f"{RUN}/logs/round_{{round}}/generate_0.log",
    wildcard_constraints:
        round=r"[1-9]\d*",
    group:
        GROUPS.get("propose")
    resources:
        **needs(SETTINGS.fan_out, 1),
    params:
        **step(
            "generate",
            GenerateSettings,
            asks=MODELS,
            attempt=0,
            labels=lambda w: f"r{w.round}a0s",
        ),
    shell:
        run("generate")


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
        tried_builds=tried_builds,
        tried_evaluations=tried_evaluations,
        experience=EXPERIENCE,
        builds=lambda w: f"{RUN}/round_{w.round}/attempt_{int(w.attempt) - 1}/builds.parquet",
        evaluations=lambda w: evaluations(w.round, int(w.attempt) - 1),
        to_repair=failed_before,
        empty=[
            rules.problem.output.candidates,
            rules.problem.output.failed,
            *rules.problem.output.costs,
        ],
    output:
        candidates=f"{RUN}/round_{{round}}/attempt_{{attempt}}/candidates.parquet",
        failed=f"{RUN}/round_{{round}}/attempt_{{attempt}}/failed_replies.txt",
        costs=costs("generate_{attempt}"),
    log:
        f"{RUN}/logs/round_{{round}}/generate_{{attempt}}.log",
    wildcard_constraints:
        attempt=r"[1-9]\d*",
    group:
        GROUPS.get("propose_repair")
    resources:
        **needs(SETTINGS.fan_out, 1),
    params:
        **step(
            "generate",
            GenerateSettings,
            asks=MODELS,
            labels=lambda w: f"r{w.round}a{w.attempt}s",
        ),
    shell:
        if_failed(
            run("generate"),
            ("candidates.parquet", "{output.candidates}"),
            ("failed.txt", "{output.failed}"),
            *(("costs.parquet", "{output.costs}") for _ in MODELS),
        )
