"""Bad input is refused in one clear line before anything runs."""

import pytest
import yaml

from kopt.artifact import read_table, read_value, write_value
from kopt.errors import KoptError
from kopt.model.problem import Problem
from kopt.model.trial import EvaluationRow
from kopt.preflight.check_seed import check_seed
from kopt.preflight.validate import validate
from kopt.problem.folder import load

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("bad")]


REAL = ("problem=softmax", "run=t", "rounds=1", "models=[kopt-rewrite]", "judge=interpret")
SEED = "config/problems/softmax/kernel.py"
CHECKING = "checking the seed kernel"


def refusal(project, *config, options=()):
    """The line that refuses; nothing may have been run."""
    done = project.run(*config, options=options)
    assert done.returncode != 0
    assert not (project.folder / "results" / "t").exists()
    lines = [line for line in done.stdout.splitlines() if line.startswith("kopt: error: ")]
    assert len(lines) == 1, done.stdout
    assert "Traceback" not in done.stdout
    return lines[0]


def checked(project, *config):
    """The settings, checked as Snakemake has them checked while it reads the Snakefile."""
    settings = {"store": str(project.folder / "results" / "store")}
    settings |= {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in config)}
    return validate(settings, project.folder)


def fault(project, *config):
    """The line of the same check without Snakemake."""
    with pytest.raises(KoptError) as raised:
        check_seed(checked(project, *config))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_wrong_setting_is_refused(project):
    assert "did you mean 'matvec'" in refusal(project, *project.DRY, "problem=matvek")


@pytest.mark.parametrize(
    ("setting", "message"),
    [("candidate_pool_sise=3", "did you mean 'candidate_pool_size'"), ("device=h101", "did you mean 'h100'")],
)
def test_a_wrong_setting_is_a_fault(project, setting, message):
    """One of each further place that checks: the settings, the device's file (others: test_config.py)."""
    assert message in fault(project, *project.DRY, setting)


def test_a_problem_without_get_inputs_is_a_fault(project):
    project.edit("config/problems/softmax/problem.py", "def get_inputs(", "def get_input(")
    assert "get_inputs" in fault(project, *project.DRY)


def test_a_taxonomy_with_a_duplicate_name_is_a_fault(project):
    project.edit("config/techniques.yaml", "name: tensor_cores", "name: split_k_reduce")
    assert "split_k_reduce" in fault(project, *project.DRY)


def test_a_results_folder_that_cannot_be_written_is_a_fault(project):
    (project.folder / "file").write_text("")
    assert "cannot write to" in fault(project, *project.DRY, f"results={project.folder}/file/results")


def test_a_seed_kernel_that_does_not_compile_is_refused(project):
    project.edit(SEED, "tl.exp(", "tl.no_such_function(")
    line = refusal(project, *REAL, options=("--dry-run",))
    assert "the seed kernel cannot be used, fix kernel.py: compile: " in line
    assert "no_such_function" in line


def test_a_seed_kernel_that_is_wrong_is_refused_and_stays_so(project, capfd):
    project.edit(SEED, "/ row_sum", "* row_sum")
    line = fault(project, *REAL)
    assert "the seed kernel cannot be used, fix kernel.py: incorrect: " in line
    assert fault(project, *REAL) == line
    assert capfd.readouterr().err.count(CHECKING) == 1


def test_a_seed_kernel_is_tried_once_and_round_0_finds_it_in_the_store(project, capfd):
    first_round = "results/t/round_0/attempt_0/evaluation_0.parquet"
    check_seed(checked(project, *REAL))
    assert capfd.readouterr().err.count(CHECKING) == 1
    assert not project.file("").exists()
    assert CHECKING not in project.succeeds(*REAL, options=(first_round,))
    assert "1 builds in the store, 0 to make" in project.file("logs/round_0/compile_0.log").read_text()
    assert "1 verdicts in the store, 0 to find" in project.file("logs/round_0/evaluate_0_0.log").read_text()
    assert [row.verdict for row in read_table(project.folder / first_round, EvaluationRow)] == ["passed"]


def test_a_dry_judge_tries_no_seed_kernel(project, capfd):
    project.edit(SEED, "tl.exp(", "tl.no_such_function(")
    check_seed(validate({"problem": "softmax", "run": "t", "judge": "dry"}, project.folder))
    assert CHECKING not in capfd.readouterr().err


def test_a_run_that_a_kill_left_locked_says_what_to_do_also_where_snakemake_says_nothing(project):
    locks = project.folder / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/t/round_0/round.json\n")
    done = project.run(*project.DRY, options=("--quiet", "all"))
    assert done.returncode != 0
    assert "kopt: error: results/t is locked" in done.stdout
    assert "--unlock" in done.stdout
    assert "is locked" not in project.succeeds(*project.DRY, options=("--unlock",))
    assert "is locked" not in project.succeeds(*project.DRY, options=("--quiet", "all", "--dry-run"))


def test_a_run_of_another_problem_is_refused_and_kept(project):
    held = project.folder / "results" / "t" / "problem.json"
    write_value(held, load(project.folder / "config" / "problems" / "matvec"))
    done = project.run(*project.DRY)
    assert done.returncode != 0
    assert "kopt: error: results/t is a run of problem matvec: name this run otherwise" in done.stdout
    assert read_value(held, Problem).name == "matvec"


def test_a_preset_is_loaded_by_its_name(project):
    plan = project.planned("preset=noop", "problem=softmax", "run=t", "rounds=1", "judge=dry")
    assert {"generate", "select", "finish"} <= plan
