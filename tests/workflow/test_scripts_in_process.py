"""Every rule's printed command, run again in this process, on made-up GPUs: no rule needs a real one."""

import logging
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("plan")]

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
ON_GPU = {"device", "baseline", "evaluate", "rank", "profile", "outcome"}


@pytest.fixture(scope="module")
def commands(made_up):
    """The folder of a run on made-up GPUs, and one command of each script, as Snakemake printed it."""
    project, output = made_up, made_up.output
    found = re.findall(r'"\$\{KOPT_PYTHON:-python\}" -P [^\n;]*/workflow/scripts/(\w+)\.py ([^\n;]*)', output)
    return project.folder, {script: words.removesuffix(" ") for script, words in reversed(found)}, output


def words_of(line: str, folder: Path) -> list[str]:
    """The words of a command line as bash expands them."""
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], cwd=folder, capture_output=True, text=True, check=True
    )
    return printed.stdout.split("\0")[:-1]


def test_a_run_on_made_up_gpus_has_every_rule_of_a_run_on_gpus(commands):
    assert commands[1].keys() >= ON_GPU | {"problem", "compile", "select", "classify", "diagnose", "generate", "finish"}


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_printed_command_run_again_in_this_process_writes_the_same_bytes(commands, script, monkeypatch):
    folder, lines, _ = commands
    if script not in lines:
        assert script in {"models", "brief", "screen"}, "rules of other runs alone"
        return
    words = words_of(lines[script], folder)
    values = (word.partition("=")[2] or word for word in words if "{" not in word)
    files = [folder / value for value in values if not value.endswith(".log") and (folder / value).is_file()]
    before = {file: file.read_bytes() for file in files}
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *words])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert before
    assert {file: file.read_bytes() for file in before} == before


def test_jobs_on_made_up_gpus_lease_them(commands):
    log = (commands[0] / "results/t/logs/round_0/evaluate_0_0.log").read_text()
    assert re.search(r"made-up-\d leased", log)


def gpus_at_once(output: str) -> int:
    """Most jobs that Snakemake started at once among those that ask for a GPU."""
    starts = re.split(r"^Execute \d+ jobs\.\.\.$", output, flags=re.M)[1:]
    rules = [re.findall(r"^(?:local)?rule (\w+):", start, re.M) for start in starts]
    asking = ON_GPU - {"baseline"}  # which leases a GPU, and counts as none
    return max(len([rule for rule in started if rule in asking]) for started in rules)


def test_made_up_gpus_are_really_scheduled(commands, project):
    one = project.succeeds(*project.MADE_UP, options=("--resources", "gpu=1"))
    assert gpus_at_once(one) == 1
    assert gpus_at_once(commands[2]) == 2


def test_made_up_times_are_called_made_up(commands):
    output = commands[2]
    assert "all times are made up (judge dry_gpu)" in output
    assert re.search(r"^R1: .* ms estimated", output, re.M)
