"""Bad input is refused in one clear line before anything runs."""

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("bad")]


def refusal(project, *config):
    """The line that refuses; nothing may have been run."""
    done = project.run(*config)
    assert done.returncode != 0
    assert not (project.folder / "results" / "t").exists()
    lines = [line for line in done.stdout.splitlines() if line.startswith("kopt: error: ")]
    assert len(lines) == 1, done.stdout
    assert "Traceback" not in done.stdout
    return lines[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("candidate_pool_size=-1", "candidate_pool_size"),
        ("candidate_pool_sise=3", "did you mean 'candidate_pool_size'"),
        ("num_top_kernels=3", "replaced by candidate_pool_size"),
        ("preset=beam_serch", "unknown preset 'beam_serch'; did you mean 'beam_search'"),
        ("models=[kopt-rewrit]", "did you mean 'kopt-rewrite'"),
        ("problem=matvek", "did you mean 'matvec'"),
        ("device=h101", "did you mean 'h100'"),
    ],
)
def test_a_wrong_setting_is_refused(project, setting, message):
    assert message in refusal(project, *project.DRY, setting)


def test_a_problem_without_get_inputs_is_refused(project):
    project.edit("config/problems/softmax/problem.py", "def get_inputs(", "def get_input(")
    assert "get_inputs" in refusal(project, *project.DRY)


def test_a_taxonomy_with_a_duplicate_name_is_refused(project):
    project.edit("config/techniques.yaml", "name: tensor_cores", "name: split_k_reduce")
    assert "split_k_reduce" in refusal(project, *project.DRY)


def test_a_results_folder_that_cannot_be_written_is_refused(project):
    (project.folder / "file").write_text("")
    assert "cannot write to" in refusal(project, *project.DRY, "results=file/results")
