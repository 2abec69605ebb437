# Check the settings before any job runs, and define what all rules share.

import atexit
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from kopt.backends.backend import load_backend
from kopt.device.baselines.compilations import subject_count
from kopt.errors import KoptError, error_line
from kopt.jobs import submitted
from kopt.jobs.command import command_words
from kopt.jobs.walltime import walltime
from kopt.load_config import as_typed
from kopt.model.proposers import REWRITER
from kopt.neutral import visible
from kopt.preflight.start import (
    begin,
    check_free,
    check_gpu,
    check_words,
    refuse_foreign_run,
    replaced_note,
)
from kopt.preflight.validate import judge_note, reread, validate
from kopt.provenance import files_digest, rule_digest
from kopt.run.earlier import after, keep
from kopt.run.progress import Progress
from kopt.run.started import hold, record_start
from kopt.warm.connect import let_start_ahead
from kopt.warm.ends import end_idle_parents, end_parents_of_run
from snakemake_logger_plugin_kopt import live, result

config |= as_typed(workflow.config_settings.config_args or [])

# A job that is submitted to a cluster reads this file again: there nothing is checked and nothing announced.
HEAD = workflow.is_main_process

# Whether jobs are submitted: an executor of a cluster asks for `--jobs`, also in a dry run; a local one does not.
SUBMITS = not HEAD or workflow.resource_settings.nodes is not None

# Commands name neither the interpreter nor the checkout, so that a run can be moved: these variables name both.
os.environ["KOPT_PYTHON"] = sys.executable
os.environ["KOPT_HOME"] = str(ROOT)


def fork_jobs(checked):
    """Say whether a fork of a warm parent runs a job's script (`workflow/start.py`): by a variable, which is no part of a command either."""
    tier = "torch" if load_backend(checked.settings.backend).keeps_builds else "light"
    warm = not SUBMITS if checked.config.warm is None else checked.config.warm
    os.environ["KOPT_WARM"] = tier if warm else ""


try:
    if HEAD:
        from kopt.preflight.check_seed import check_seed

        check_words(sys.argv)
        CHECKED = validate(config, ROOT, submits=SUBMITS)
        check_free(CHECKED.settings.folder, sys.argv)
        refuse_foreign_run(CHECKED)
        if not SUBMITS:
            check_gpu(CHECKED, sys.argv)
        if note := begin(CHECKED.settings.folder, sys.argv):
            print(f"kopt: note: {visible(note)}", file=sys.stderr)
        if note := replaced_note(CHECKED, sys.argv):
            print(f"kopt: note: {visible(note)}", file=sys.stderr)
        fork_jobs(CHECKED)
        ahead = () if SUBMITS or workflow.dryrun else (let_start_ahead,)
        check_seed(CHECKED, *ahead)
    else:
        CHECKED = reread(config, ROOT)
        fork_jobs(CHECKED)
except (KoptError, OSError) as error:
    sys.exit(error_line(error))

CONFIG = CHECKED.config
SETTINGS = CHECKED.settings
BACKEND = load_backend(SETTINGS.backend)
RUN = SETTINGS.folder
GPU = int(BACKEND.leases)  # GPUs of a job that needs one
LAST = CONFIG.rounds
PARENTS = range(CONFIG.candidate_pool_size)

# Cores of a job that builds or judges; a profile sets others with `set-threads`.
CORES = submitted.CORES if SUBMITS else workflow.cores

# Cores of a job that builds: one is left for a job that works on a GPU meanwhile.
BUILD_CORES = CORES - 1 if GPU and not SUBMITS and CORES > 3 else CORES

if not HEAD:
    os.environ[submitted.VARIABLE] = f"{RUN}/{submitted.FOLDER}"
    # Snakemake calls no `onsuccess` in a submitted job, whose parents no other job could use.
    atexit.register(end_idle_parents)
elif SUBMITS:
    if note := judge_note(config, CHECKED.config):
        print(f"kopt: note: {visible(note)}", file=sys.stderr)
    # Defaults that depend on the machine are decided here and told to all jobs, whose machines may show other GPUs.
    workflow.config_settings.config_args = [
        *(workflow.config_settings.config_args or []),
        f"judge={CONFIG.judge}",
        f"chunk_size={CONFIG.chunk_size}",
    ]
if SUBMITS:
    # A submitted job has one GPU, on which the jobs of its group work in turn.
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", 1)

    resource_scopes:
        gpu="local",


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
    return {
        "code": code(script, asks, loads, files) if HEAD else "",
        "settings": CHECKED.rule_settings(settings) if settings else "{}",
        "words": words(**others),
    }


def code(script, asks, loads, files):
    """Return the digest of the code that a rule depends on, and of the files that it reads outside the run's folder.

    Snakemake compares digests before it submits a job, so that the job itself does not work them out again.
    """
    path = ROOT / f"workflow/scripts/{script}.py"
    digest = rule_digest(path, BACKEND.name, asks_models=bool(asks), loads=loads)
    return digest + (files_digest(map(Path, files)) if files else "")


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


def take_run():
    """Hold the run's folder until this process ends, and record the start; end where another process holds it.

    Another run may have begun there since the settings were checked.
    """
    try:
        hold(Path(RUN))
        refuse_foreign_run(CHECKED)
        record_start(Path(RUN), sys.argv, CONFIG)
    except KoptError as error:
        sys.exit(error_line(error))


# What `keep_results` has kept of an earlier search; nothing where none is replaced.
KEPT = []


def keep_results():
    """Keep the results of a search that has ended where rule `problem` or `finish` writes others in their place."""
    if any(
        job.rule.name in ("problem", "finish") for job in workflow.dag.needrun_jobs()
    ):
        try:
            KEPT.extend(filter(None, [keep(Path(RUN), LAST)]))
        except KoptError as error:
            sys.exit(error_line(error))


def compare_with_kept():
    """Say where the results that were kept are better than those of the run that has ended."""
    for note in filter(None, (after(Path(RUN), kept) for kept in KEPT)):
        print(f"kopt: note: {visible(note)}", file=sys.stderr)


def result_of_run():
    """Return the last lines of a run that has ended before."""
    from kopt.view.result import result_lines

    return result_lines(Path(RUN), Path(CONFIG.store))


if HEAD:
    result.tell(result_of_run)


def keep_asking_squeue():
    """Keep the Slurm plugin on `squeue` while slurmctld does not answer.

    Plugin 2.8.0 asks slurmctld at each look at the jobs how long it remembers ended ones, and asks `sacct` instead when there is no answer.  Where Slurm keeps no accounts, it forgets the jobs then, and the search waits for ever.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    remembers = plugin and plugin.get_min_job_age()
    if remembers:
        plugin.get_min_job_age = lambda: remembers


def needs(items, seconds, workers=1, gpu=0, gpus=None):
    """Return the resources of a rule whose jobs are submitted.

    items: kernels that a job works on.
    seconds: limit of one kernel, s.
    workers: kernels that a job works on at a time.
    gpu: GPUs of a job.
    gpus: function from a job's inputs to its GPUs, in place of `gpu`.
    """
    count = gpus or (lambda wildcards, input: gpu)
    resources = {
        "runtime": lambda wildcards, attempt: walltime(items, seconds, workers, attempt)
    }
    if gpu:
        resources["gpu"] = gpus or gpu
        if CONFIG.gpu_model:
            resources["gpu_model"] = lambda wildcards, input: (
                CONFIG.gpu_model if count(wildcards, input) else ""
            )
    return resources


def gpus_of_repair(wildcards, input):
    """Return the GPUs of a job that repairs: none where the attempt before left nothing to repair."""
    failed = [Path(path) for path in input.to_repair]
    if all(path.exists() and not path.read_text().strip() for path in failed):
        return 0
    return GPU


def attempts(round):
    """Return the attempts of a round; the seed is never repaired."""
    return range(CONFIG.max_repairs + 1) if int(round) else range(1)


def chunks(attempt):
    """Return the number of evaluate jobs of an attempt."""
    return BACKEND.chunks(SETTINGS.fan_out, SETTINGS.chunk_size, int(attempt))


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


def ranked(wildcards):
    """Return how many of the pool's fastest kernels the race of a first attempt ranks: none of several chunks.

    The only chunk of a round races beside the parents, so that `rank` need not verify and time all of them once more.
    """
    return CONFIG.finalists if len(evaluations(wildcards.round, 0)) == 1 else 0


def all_evaluations(round):
    """List the evaluation tables of all attempts of a round."""
    return [
        table for attempt in attempts(round) for table in evaluations(round, attempt)
    ]


def earlier(name, round, attempt):
    """List one table of every attempt before this one, in all rounds."""
    before = [table for r in range(int(round)) for table in tables(name, r)]
    return before + tables(name, round, attempt)


# Whether proposals follow from what earlier rounds found.
LEARNS = CONFIG.learning and REWRITER in CONFIG.models


def tried_builds(wildcards):
    """List the build tables of earlier rounds, where the rewriter learns from them."""
    return earlier("builds", wildcards.round, 0) if LEARNS else []


def tried_evaluations(wildcards):
    """List the evaluation tables of earlier rounds, where the rewriter learns from them."""
    rounds = range(int(wildcards.round)) if LEARNS else ()
    return [table for round in rounds for table in all_evaluations(round)]


# Whether estimates say which kernels need not be judged.
SCREENS = CONFIG.screen and BACKEND.measures and BACKEND.builds


def screened(wildcards):
    """Name the table of what need not be judged in a round's first attempt; none for the seed."""
    table = f"{RUN}/round_{wildcards.round}/attempt_0/screen.parquet"
    return [table] if SCREENS and int(wildcards.round) else []


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


# Groups of jobs that are submitted as one job, which starts once; steps that are not named are submitted or run alone.
# A group ends where a language model is asked, since those jobs run where Snakemake runs; and no long work of the CPU
# keeps a GPU waiting, repairs aside, which are few.
if not SUBMITS:
    GROUPS = {}
elif MODELS:
    GROUPS = {"repair": "attempt_{round}_{attempt}"}
    if not GPU:
        GROUPS |= dict.fromkeys(("build", "judge"), "attempt_{round}_0")
    elif not SETTINGS.classifier:
        GROUPS["choose"] = "choose_{round}"
else:
    STEPS = ["propose_repair", "repair", *(["choose"] if GPU else ["propose", "build"])]
    if not GPU or chunks(0) == 1:
        STEPS.append("judge")
    GROUPS = dict.fromkeys(STEPS, "round_{round}")
