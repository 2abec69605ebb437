# Settings, checked before anything runs, and what all rules share.

import json
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from kopt.errors import KoptError
from kopt.provenance import code_digest, file_digest
from kopt.preflight.check_seed import check_seed
from kopt.jobs.command import brace_compressed
from kopt.preflight.validate import lock_note, validate

try:
    CHECKED = validate(config, ROOT)
    check_seed(CHECKED)
except KoptError as error:
    sys.exit(f"kopt: error: {error}")

CONFIG = CHECKED.config
RUN = f"{CONFIG.results}/{CONFIG.run_name}"
if "--unlock" not in sys.argv and (note := lock_note(RUN)):
    print(f"kopt: note: {note}", file=sys.stderr)
SCRIPT = f"{sys.executable} -P {ROOT}/workflow/scripts"  # -P: scripts named like modules must not shadow them
CUDA = CONFIG.effective_judge == "cuda"
GPU = int(CUDA)  # GPUs of a job that needs one
LAST = CONFIG.rounds
PARENTS = range(CONFIG.candidate_pool_size)
# The code that chooses parents: its module is imported by its name.
STRATEGY = [
    "search.registry",
    f"search.strategies.{CONFIG.effective_strategy}",
]

# Of language models: what only a run that asks some has.
MODELS = [f"{RUN}/models.json"] if CONFIG.asked_models else []
ASKING = ["asking"] if CONFIG.asked_models else []
ASKED = f"models={{input.models}} run={RUN} costs={{output.costs}}"
BILL = ["jobs.ledger_costs"] if MODELS else []


wildcard_constraints:
    round=r"\d+",
    attempt=r"\d+",
    chunk=r"\d+",
    parent=r"\d+",


def settings(*names):
    """The named settings as one word of a command line; a rule runs again when one of its own changes."""
    picked = {name: CHECKED.setting(name) for name in names}
    return json.dumps(picked, sort_keys=True, separators=(",", ":"))


def code(stage, *more, script=None):
    """Digest of the code behind a stage: snakemake cannot see an edit of an imported module by itself."""
    modules = "".join(code_digest(f"kopt.{name if '.' in name else f'stages.{name}'}") for name in (stage, *more))
    return modules + file_digest(ROOT / f"workflow/scripts/{script or stage}.py")


def attempts(round):
    """Attempts of a round: the seed is never repaired."""
    return range(CONFIG.max_repairs + 1) if int(round) else range(1)


def tables(name, round, attempt=None):
    """One table of every attempt of a round, or of the attempts before `attempt`."""
    last = len(attempts(round)) if attempt is None else int(attempt)
    return [f"{RUN}/round_{round}/attempt_{a}/{name}.parquet" for a in range(last)]


def evaluations(round, attempt):
    """Evaluation tables of one attempt."""
    chunks = CONFIG.chunks(int(attempt)) if int(round) else 1
    return [
        f"{RUN}/round_{round}/attempt_{attempt}/evaluation_{chunk}.parquet"
        for chunk in range(chunks)
    ]


def all_evaluations(round):
    """Evaluation tables of all attempts of a round."""
    return [
        table for attempt in attempts(round) for table in evaluations(round, attempt)
    ]


def earlier(name, round, attempt):
    """One table of every attempt before this one, in all rounds."""
    before = [table for r in range(int(round)) for table in tables(name, r)]
    return before + tables(name, round, attempt)


def previous(name):
    """Input function: a file of the round before, nothing for round 0."""

    def of(wildcards):
        return (
            [f"{RUN}/round_{int(wildcards.round) - 1}/{name}"]
            if int(wildcards.round)
            else []
        )

    return of


def briefing(ago):
    """Input function: the briefing of this round (`ago` 0) or of the one before; nothing without language models."""

    def of(wildcards):
        round = int(wildcards.round) - ago
        return [f"{RUN}/round_{round}/briefing.json"] if MODELS and round >= 0 else []

    return of


def costs(job, asks=True):
    """What a job's requests cost, if it asks language models: its part of the run's ledger, for the report."""
    return [f"{RUN}/round_{{round}}/costs/{job}.parquet"] if MODELS and asks else []


def failed_before(wildcards):
    """The lists of what the attempt before this one left to repair, one file per job that may add to it."""
    folder = f"{RUN}/round_{wildcards.round}/attempt_{int(wildcards.attempt) - 1}"
    chunks = range(len(evaluations(wildcards.round, int(wildcards.attempt) - 1)))
    return [
        f"{folder}/failed_replies.txt",
        f"{folder}/failed_builds.txt",
        *(f"{folder}/failed_{chunk}.txt" for chunk in chunks),
    ]


def if_failed(command, *empty):
    """A repair's command: run only if the attempt before left something to repair; else its outputs are empty ones.

    Most repairs have nothing to do, and a copy costs a twentieth of a Python process.
    """
    copies = " && ".join(f"cp {RUN}/empty/{table} {output}" for table, output in empty)
    return f"if grep -qs . {{input.failed}}; then {command}; else {copies}; fi"
