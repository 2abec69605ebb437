# Check the settings before any job runs, and define what all rules share.

import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from kopt.backends.backend import load_backend
from kopt.errors import KoptError, error_line
from kopt.jobs.command import command_words
from kopt.load_config import as_typed
from kopt.neutral import visible
from kopt.preflight.check_seed import check_seed
from kopt.preflight.start import begin, check_words
from kopt.preflight.validate import validate
from kopt.provenance import files_digest, rule_digest

config |= as_typed(workflow.config_settings.config_args or [])

try:
    check_words(sys.argv)
    CHECKED = validate(config, ROOT)
    if workflow.is_main_process and (note := begin(CHECKED.settings.folder, sys.argv)):
        print(f"kopt: note: {visible(note)}", file=sys.stderr)
    check_seed(CHECKED)
except (KoptError, OSError) as error:
    sys.exit(error_line(error))

CONFIG = CHECKED.config
SETTINGS = CHECKED.settings
BACKEND = load_backend(SETTINGS.backend)
RUN = SETTINGS.folder
GPU = int(BACKEND.measures)  # GPUs of a job that needs one
LAST = CONFIG.rounds
PARENTS = range(CONFIG.candidate_pool_size)

# Commands name neither the interpreter nor the checkout, so that a run can be moved: these variables name both.
os.environ["KOPT_PYTHON"] = sys.executable
os.environ["KOPT_HOME"] = str(ROOT)

# The run's part of the model table; a run without language models has none.
MODELS = [f"{RUN}/models.json"] if SETTINGS.asked_models else []

# Scripts import the strategy's module by this name.
STRATEGY = f"kopt.search.strategies.{SETTINGS.strategy}"


wildcard_constraints:
    round=r"\d+",
    attempt=r"\d+",
    chunk=r"\d+",
    parent=r"\d+",


def run(script):
    """Write the command of a rule: its script with the rule's named inputs and outputs, wildcards and settings.

    `-P` keeps the folder of the scripts off `sys.path`, where scripts would shadow modules of the same name.
    """
    return (
        'PYTHONPATH="${{KOPT_HOME:-.}}${{PYTHONPATH:+:$PYTHONPATH}}" '
        '"${{KOPT_PYTHON:-python}}" -P "${{KOPT_HOME:-.}}"/workflow/start.py '
        '"${{KOPT_HOME:-.}}"/workflow/scripts/'
        f"{script}.py {{params.words}} settings={{params.settings:q}} threads={{threads}} log={{log}}"
    )


def step(script, settings=None, asks=False, loads=(), files=(), **others):
    """Return the params of a rule.

    script: name of the script; the rule runs again when the script's code changes.
    settings: class of the rule's settings; the rule runs again when a setting changes.
    asks: whether the rule asks language models in this run.
    loads: names of modules that the script imports by name at run time.
    files: files outside the run's folder that the rule reads; the rule runs again when their contents change.
    others: further words of the command line by name, or functions from wildcards to words; each follows from the configuration or is the path of one of `files`.
    """
    path = ROOT / f"workflow/scripts/{script}.py"
    code = rule_digest(path, BACKEND.name, asks_models=bool(asks), loads=loads)
    return {
        "code": code + (files_digest(map(Path, files)) if files else ""),
        "settings": CHECKED.rule_settings(settings) if settings else "{}",
        "words": words(**others),
    }


def words(**others):
    """Make the params function that writes a command line, from the names that the rule gives its inputs and outputs.

    Params that are computed from inputs and outputs are no reason for Snakemake to run a job again.
    """

    def of(wildcards, input, output):
        rest = {"store": CONFIG.store, "run": RUN}
        rest |= {name: value for name, value in wildcards.items() if name not in others}
        for name, value in others.items():
            rest[name] = value(wildcards) if callable(value) else value
        return command_words(
            input.items(), output.items(), {k: str(v) for k, v in rest.items()}
        )

    return of


def attempts(round):
    """Return the attempts of a round; the seed is never repaired."""
    return range(CONFIG.max_repairs + 1) if int(round) else range(1)


def chunks(attempt):
    """Return the number of evaluate jobs of an attempt."""
    return BACKEND.chunks(SETTINGS.fan_out, CONFIG.chunk_size, int(attempt))


def tables(name, round, attempt=None):
    """List one table of every attempt of a round, or of the attempts before `attempt`."""
    last = len(attempts(round)) if attempt is None else int(attempt)
    return [f"{RUN}/round_{round}/attempt_{a}/{name}.parquet" for a in range(last)]


def evaluations(round, attempt):
    """List the evaluation tables of one attempt."""
    return [
        f"{RUN}/round_{round}/attempt_{attempt}/evaluation_{chunk}.parquet"
        for chunk in range(chunks(attempt) if int(round) else 1)
    ]


def all_evaluations(round):
    """List the evaluation tables of all attempts of a round."""
    return [
        table for attempt in attempts(round) for table in evaluations(round, attempt)
    ]


def earlier(name, round, attempt):
    """List one table of every attempt before this one, in all rounds."""
    before = [table for r in range(int(round)) for table in tables(name, r)]
    return before + tables(name, round, attempt)


def previous(name):
    """Make the input function that names a file of the previous round, and none for round 0."""

    def of(wildcards):
        return (
            [f"{RUN}/round_{int(wildcards.round) - 1}/{name}"]
            if int(wildcards.round)
            else []
        )

    return of


def briefing(ago):
    """Make the input function that names the briefing of `ago` rounds before; none without language models."""

    def of(wildcards):
        round = int(wildcards.round) - ago
        return [f"{RUN}/round_{round}/briefing.json"] if MODELS and round >= 0 else []

    return of


def costs(job, asks=True):
    """Name the table of what a job's requests cost, for the report; none for a job that asks no language model."""
    return [f"{RUN}/round_{{round}}/costs/{job}.parquet"] if MODELS and asks else []


def failed_before(wildcards):
    """List the files that name the slots to repair of the previous attempt, one file per job that may find some."""
    folder = f"{RUN}/round_{wildcards.round}/attempt_{int(wildcards.attempt) - 1}"
    chunks = range(len(evaluations(wildcards.round, int(wildcards.attempt) - 1)))
    return [
        f"{folder}/failed_replies.txt",
        f"{folder}/failed_builds.txt",
        *(f"{folder}/failed_{chunk}.txt" for chunk in chunks),
    ]


def if_failed(command, *empty):
    """Write a repair's command: run `command` if the previous attempt left slots to repair, else copy empty outputs.

    Most repairs have nothing to do, and a copy takes a twentieth of the time of a Python process.
    """
    copies = " && ".join(f"cp {RUN}/empty/{table} {output}" for table, output in empty)
    return f"if grep -qs . {{input.to_repair}}; then {command}; else {copies}; fi"
