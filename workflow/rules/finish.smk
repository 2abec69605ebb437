# Measure the outcome, and write the exports of the run.

from kopt.project import PACKAGE
from kopt.stages.baseline import BaselineSettings

ROUNDS = range(LAST + 1)


OUTCOME = [f"{RUN}/outcome.json"] if BACKEND.measures else []

# Tables of what each job that asks language models cost, in the order of a round.
COSTS = [
    *expand(rules.classify.output.costs, round=ROUNDS),
    *expand(rules.brief.output.costs, round=range(LAST)),
    *expand(rules.diagnose.output.costs, round=range(LAST)),
    *expand(rules.generate.output.costs, round=ROUNDS[1:]),
    *expand(
        rules.generate_repair.output.costs, round=ROUNDS[1:], attempt=attempts(1)[1:]
    ),
]

# The reported figures are measured on new inputs, in fresh processes, side by side.
if BACKEND.measures:

    rule outcome:
        input:
            selection=f"{RUN}/round_{LAST}/selection.parquet",
            problem=PROBLEM,
            facts=FACTS,
            device=DEVICE,
        output:
            outcome=OUTCOME,
        log:
            f"{RUN}/logs/outcome.log",
        resources:
            **needs(subject_count(CONFIG.baselines) + 2, submitted.LONG_S, gpu=GPU),
        params:
            **step("outcome", BaselineSettings),
        shell:
            run("outcome")


rule finish:
    input:
        problem=PROBLEM,
        facts=FACTS,
        device=DEVICE,
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
        profiles=[
            f"{RUN}/round_{r}/profile/{p}.json" for r in range(LAST) for p in PARENTS
        ],
        slots=[f"{RUN}/round_{r}/slots.parquet" for r in ROUNDS[1:] if MODELS],
        costs=COSTS,
        briefings=[f"{RUN}/round_{r}/briefing.json" for r in range(LAST) if MODELS],
        agreements=[path.format(round=r) for path in AGREEMENT for r in ROUNDS],
    output:  # one for each module of kopt.exports, by its name, and the report
        best=report(
            f"{RUN}/best_kernel.py", caption="../report/best.rst", category="Searches"
        ),
        final=f"{RUN}/final.json",
        trials=f"{RUN}/trials.parquet",
        report=report(
            f"{RUN}/report.html", caption="../report/report.rst", category="Searches"
        ),
        manifest=f"{RUN}/manifest.json",
    log:
        f"{RUN}/logs/finish.log",
    params:
        **step(
            "finish",
            asks=MODELS,
            files=[
                CHECKED.taxonomy_file,
                *sorted((PACKAGE / "report/templates").iterdir()),
                *sorted((PACKAGE / "winner/embedded").glob("*.py")),
                PACKAGE / "device/reference/modes.py",
            ],
            taxonomy=CHECKED.taxonomy_file,
        )
        | {"settings": CHECKED.recorded_settings()},
    shell:
        run("finish")
