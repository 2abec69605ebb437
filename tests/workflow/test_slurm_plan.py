"""What a search on Slurm would submit, planned without a Slurm: `--profile profiles/slurm`, no `--cores`."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_models import KEYS, write_models

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("plan")]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """The jobs that a dry run prints."""

    text: str

    @property
    def groups(self):
        """Rules of each group, by the group's name."""
        found = re.findall(r"Group job (\S+) \(jobs in lexicogr. order\):\n((?:\n|    .*\n)+)", self.text)
        return {name: set(re.findall(r"rule (\w+):", jobs)) for name, jobs in found}

    @property
    def alone(self):
        """Rules whose jobs belong to no group."""
        return set(re.findall(r"^(?:local)?rule (\w+):", self.text, re.M))

    def resources(self, rule):
        """Resources of the first job of a rule."""
        return set(re.search(rf"rule {rule}:\n(?:    .*\n)*? *resources: (.*)\n", self.text)[1].split(", "))


@pytest.fixture(scope="module")
def plan(tmp_path_factory, new_project):
    project = new_project(tmp_path_factory.mktemp("plan"))
    write_models(project.folder, port=1)

    def planned(*config):
        options = ("--dry-run", "--profile", "profiles/slurm")
        command = project.command("problem=softmax", "run=t", "rounds=1", *config, options=options)
        at = command.index("--cores")
        done = project.run_command([*command[:at], *command[at + 2 :]], KEYS)
        assert done.returncode == 0, done.stdout
        return Plan(done.stdout)

    return planned


@pytest.fixture(scope="module")
def local_rules():
    """The rules that the Snakefile says to run where Snakemake runs."""
    text = (ROOT / "Snakefile").read_text()
    return set(re.findall(r"\w+", re.search(r"^localrules:\n((?:    \w+,\n)+)", text, re.M)[1]))


def test_a_round_without_gpus_and_language_models_is_one_job(plan, local_rules):
    made = plan("judge=dry", "models=[kopt-echo]", "limits={build_seconds: 2400}")
    proposed = {"generate", "compile", "evaluate", "generate_repair", "compile_repair", "evaluate_repair"}
    assert made.groups == {"round_0": {"compile_seed", "evaluate"}, "round_1": proposed}
    assert made.alone - local_rules == {"rank", "profile"}  # both local without a GPU
    assert "gpu=1" not in made.text
    assert "runtime=20" in made.resources("compile")  # 10, and a quarter of 40 minutes for four kernels on 8 cores


def test_a_round_with_language_models_is_a_job_for_each_attempt(plan, local_rules):
    made = plan("judge=dry", "models=[claude-local,gpt-local]", "diagnosis=rules", "reflection=none")
    repaired = {f"attempt_1_{attempt}": {"compile_repair", "evaluate_repair"} for attempt in (1, 2, 3)}
    seed = {"attempt_0_0": {"compile_seed", "evaluate"}}
    assert made.groups == seed | {"attempt_1_0": {"compile", "evaluate"}} | repaired
    assert {"generate", "generate_repair", "models"} <= made.alone & local_rules


def test_long_work_of_the_cpu_keeps_no_gpu(plan, local_rules):
    made = plan("judge=dry_gpu", "models=[kopt-echo]", "gpu_model=h100")
    assert {"evaluate", "rank", "select", "evaluate_repair"} <= made.groups["round_1"]
    assert made.alone - local_rules == {"device", "baseline", "compile_seed", "compile", "outcome"}
    for rule in ("device", "baseline", "evaluate", "evaluate_repair", "rank", "profile", "outcome"):
        assert {"gpu=1", "gpu_model=h100"} <= made.resources(rule)
    # 10 minutes, and a quarter of 10 for the seed, for eager and for three compilations, two of them by max-autotune
    assert "runtime=23" in made.resources("baseline")
    assert "runtime=25" in made.resources("outcome")  # the best kernel beside
    for rule in ("compile", "compile_seed", "generate", "select"):
        assert not {name.partition("=")[0] for name in made.resources(rule)} & {"gpu", "gpu_model"}
