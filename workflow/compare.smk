# Run the searches of a comparison, strategies × problems × seeds, and compare them.
#
#   snakemake --snakefile workflow/compare.smk --cores 2 --config plan=compare.yaml
#
# A search is the workflow of the Snakefile itself, called by a rule, with the store that all searches share: what one
# of them built, judged or measured, the others find.  It may be called by hand as well, and goes on where it was.

import os
import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT))

from kopt.artifact import canonical_json, write_value
from kopt.comparison.label import LABELS
from kopt.comparison.plan import labels_of, load_plan, searches
from kopt.errors import ConfigError, KoptError, error_line
from kopt.project import PACKAGE
from kopt.provenance import code_digest, files_digest
from kopt.warm.ends import STAYS, end_idle_parents

# Commands name neither the interpreter nor the checkout, as in the searches.
os.environ["KOPT_PYTHON"] = sys.executable
os.environ["KOPT_HOME"] = str(ROOT)

# Warm parents take seconds to start: those of a search serve the next one, and end with the comparison.
os.environ[STAYS] = "1"

try:
    if "plan" not in config:
        raise ConfigError(
            "name the plan of a comparison: --config plan=compare.yaml (docs/comparison.md)"
        )
    PLAN = load_plan(Path(str(config["plan"])))
    SEARCHES = {
        one.run: one for one in searches(PLAN, ROOT, submits=bool(PLAN.profile))
    }
except (KoptError, OSError) as error:
    sys.exit(error_line(error))

FOLDER = PLAN.folder
TEMPLATES = [
    path
    for package in ("comparison", "report")
    for path in sorted((PACKAGE / package / "templates").iterdir())
]
GPUS = "" if PLAN.profile else f"--resources gpu={PLAN.gpus}"
PROFILE = f"--profile {PLAN.profile}" if PLAN.profile else ""


wildcard_constraints:
    run="|".join(map(re.escape, SEARCHES)),


rule all:
    default_target: True
    input:
        f"{FOLDER}/compare.html",


localrules:
    all,
    search,
    compare,


onstart:
    write_value(Path(FOLDER) / LABELS, labels_of(PLAN, list(SEARCHES.values())))


onsuccess:
    end_idle_parents()


onerror:
    end_idle_parents()


# A finished search does nothing again but what an edit asks for; its own lock holds its folder, so that Snakemake's need
# not: after a kill only this workflow has to be unlocked.
rule search:
    output:
        figures=f"{FOLDER}/figures/{{run}}.json",
    log:
        f"{FOLDER}/logs/{{run}}.log",
    threads: PLAN.cores or workflow.cores
    resources:
        gpu=lambda w: SEARCHES[w.run].gpus,
    params:
        code=lambda w: SEARCHES[w.run].depends_on(),
        words=lambda w: SEARCHES[w.run].words,
        final=lambda w: f"{FOLDER}/{w.run}/final.json",
    shell:
        'echo "{wildcards.run}: searching, {log}" >&2; '
        '"${{KOPT_PYTHON:-python}}" -m snakemake --snakefile "${{KOPT_HOME:-.}}"/Snakefile --nolock --quiet all '
        f'--workflow-profile "${{{{KOPT_HOME:-.}}}}"/profiles/default {GPUS} {PROFILE} '
        "--cores {threads} --config {params.words} >{log} 2>&1 || {{ tail -n 3 {log} >&2; exit 1; }}; "
        "cp {params.final} {output.figures}"


rule compare:
    input:
        figures=[f"{FOLDER}/figures/{run}.json" for run in SEARCHES],
    output:
        page=report(f"{FOLDER}/compare.html", category="Comparisons"),
        answer=f"{FOLDER}/compare.json",
    log:
        f"{FOLDER}/logs/compare.log",
    params:
        code=code_digest("kopt.comparison.page") + files_digest(TEMPLATES),
        runs=[f"{FOLDER}/{run}" for run in SEARCHES],
        run=f"{FOLDER}/{next(iter(SEARCHES))}",
        store=next(iter(SEARCHES.values())).checked.config.store,
        name=PLAN.name,
        plan=canonical_json(PLAN),
    shell:
        'PYTHONPATH="${{KOPT_HOME:-.}}${{PYTHONPATH:+:$PYTHONPATH}}" "${{KOPT_PYTHON:-python}}" -P '
        '"${{KOPT_HOME:-.}}"/workflow/compare.py runs= {params.runs} name={params.name} '
        "page={output.page} answer={output.answer} store={params.store} run={params.run} log={log}"
