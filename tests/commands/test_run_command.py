"""`kopt run` says in snakemake's words what it starts; an installed kopt holds what the checkout holds."""

import json
import os
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest
import setuptools

from kopt import cli, project
from kopt.commands.new import folder_of
from kopt.commands.run import Search, command
from kopt.errors import ConfigError, ProblemError
from kopt.preflight.start import TYPED
from kopt.project import SHIPPED, project_root

ROOT = Path(__file__).parents[2]
OF_A_RUN = ("status", "show", "export", "pack", "reselect", "simplify", "claim", "compare")
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def words(problem, *settings, environment=NO_GPU, **options):
    return command(Search(problem=problem, words=settings, cores=2, **options), environment)


def settings_in(command):
    return dict(word.split("=", 1) for word in command[command.index("--config") + 1 :])


def test_a_shipped_problem_runs_with_the_rewriter_where_no_key_is_set(capsys):
    made = words("softmax", "rounds=3", "--dry-run", name="007")
    assert settings_in(made) == {
        "problem": "softmax", "preset": "beam_search", "rounds": "3", "run": "007", "models": "[kopt-rewrite]",
    }  # fmt: skip
    assert made[: made.index("--config")] == [
        "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--quiet", "all", "--dry-run",
    ]  # fmt: skip


def test_models_with_keys_propose(monkeypatch, capsys):
    keys = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k"}
    diverse = settings_in(words("softmax", preset="beam_search_diverse", environment=NO_GPU | keys))
    assert diverse["models"] != "[kopt-rewrite]"
    alone = settings_in(words("softmax", preset="beam_search_diverse"))
    assert alone["models"] == "[kopt-rewrite]"
    assert "kopt's own rewriter (kopt-rewrite) proposes alone" in capsys.readouterr().err


def becoming(monkeypatch, tmp_path, *words):
    """Run a command whose program is noted and not started; return its program and words."""
    became = []

    def execve(path, program, environment):
        became.append(program)
        raise SystemExit(0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(SystemExit):
        cli.main([*words])
    return became[0]


def test_a_search_is_started_as_it_is_told(monkeypatch, tmp_path, capfd):
    (tmp_path / "more.yaml").write_text("results: elsewhere\n")
    words = ["run", "softmax", "rounds=2", "--name", "one", "--json", "--", "--configfile", "more.yaml"]
    program = becoming(monkeypatch, tmp_path, *words)
    os.write(1, b"from snakemake\n")
    said = capfd.readouterr()
    answer = json.loads(said.out)  # what snakemake writes is not in it
    assert answer["command"] == ["snakemake", *program[3:]]
    assert answer["final"] == f"{tmp_path}/elsewhere/one/final.json"
    assert said.err.splitlines()[-2] == f"$ {shlex.join(answer['command'])}"
    assert said.err.endswith("\nfrom snakemake\n")


def test_a_run_is_unlocked_by_the_same_words_with_one_more(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv(TYPED, "")
    becoming(
        monkeypatch, tmp_path, "run", "softmax", "rounds=2", "--name", "one", "--cores", "2", "--", "--forcerun", "all"
    )
    assert os.environ[TYPED] == "kopt run softmax rounds=2 --name one --unlock -- --forcerun all"
    asked = []

    def snakemake(program, **_):
        asked.append(program)
        return subprocess.CompletedProcess(program, 0)

    monkeypatch.setattr(subprocess, "run", snakemake)
    assert cli.main(["run", "softmax", "--name", "one", "--unlock"]) == 0
    assert asked[0].index("--unlock") < asked[0].index("--config")
    assert "results/one is unlocked" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"), [("runds=2", "did you mean 'rounds'?"), ("judge=cda", "judge: "), ("rounds=[", "is not YAML")]
)
def test_a_setting_that_cannot_be_is_said_before_snakemake_starts(capsys, word, said):
    assert cli.main(["run", "softmax", word]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["softmax", "--name", "my run"], "run: may hold letters, digits, _ . and - alone"),
        (["ops.py:gated"], "a function becomes a problem by `kopt new NAME --from ops.py:gated --inputs ...`"),
    ],
)
def test_a_name_that_cannot_be_and_a_function_are_said_in_words(capsys, words, said):
    assert cli.main(["run", *words]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "softmx"], "unknown problem 'softmx'; did you mean 'softmax'? problems are "),
        (["run", "./softmx"], "'./softmx' is not a folder: name a problem or its folder; did you mean 'softmax'? "),
        (["check", "softmx"], "unknown problem 'softmx'; did you mean 'softmax'? problems are "),
        (["seed", "softmx"], "unknown problem 'softmx'; did you mean 'softmax'? problems are "),
        (
            ["evaluate", "k.py", "--problem", "softmx"],
            "unknown problem 'softmx'; did you mean 'softmax'? problems are ",
        ),
        *(([command, "nosuch"], "there is no run 'nosuch'; results holds no run") for command in OF_A_RUN),
        (["diff", "nosuch:best", "nosuch:seed"], "there is no run 'nosuch'; results holds no run"),
    ],
)
def test_a_problem_or_a_run_that_does_not_exist_is_one_line_and_status_2_before_anything_is_done(
    tmp_path, monkeypatch, capsys, words, said
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kopt: error: {said}")


def test_a_problem_is_looked_for_in_the_folder_of_problems_that_a_setting_names(tmp_path):
    (tmp_path / "others" / "mine").mkdir(parents=True)
    made = settings_in(words("mine", f"problems={tmp_path}/others"))
    assert (made["problem"], made["problems"]) == ("mine", f"{tmp_path.resolve()}/others")
    with pytest.raises(ProblemError, match="unknown problem 'softmax'"):
        words("softmax", f"problems={tmp_path}/others")


def test_a_folder_of_a_problem_runs_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    for name in ("problem.py", "kernel.py", "problem.yaml"):
        (tmp_path / "mine" / name).write_text((ROOT / "config/problems/softmax" / name).read_text())
    monkeypatch.chdir(tmp_path)
    settings = settings_in(words("./mine", gpus=2))
    assert (settings["problem"], settings["problems"]) == ("mine", str(tmp_path.resolve()))
    assert "gpu=2" in words("./mine", gpus=2)
    assert settings_in(words("mine", gpus=2)) == settings  # the first word that comes to mind
    (tmp_path / "mine").rename(tmp_path / "softmax")
    assert "problems" not in settings_in(words("softmax"))  # a shipped problem of this name comes first


def test_a_new_problem_of_an_installed_kopt_is_not_lost_at_an_upgrade(tmp_path, monkeypatch):
    assert folder_of("mine") == ROOT / "config/problems/mine"
    package = tmp_path / "kopt"
    (package / "project").mkdir(parents=True)
    monkeypatch.setattr(project, "PACKAGE", package)
    assert folder_of("mine") == Path("mine")
    assert cli.main(["config", "--write"]) == 2


def test_a_word_that_is_no_setting_and_a_missing_folder_are_said():
    with pytest.raises(ConfigError, match="write NAME=VALUE"):
        words("softmax", "rounds")
    with pytest.raises(ProblemError, match="not a folder"):
        words("./nowhere")


def test_an_installed_kopt_holds_the_checkout_s_own_files(tmp_path, monkeypatch):
    made = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: made.update(given))
    setup = runpy.run_path(str(ROOT / "setup.py"))
    assert setup["SHIPPED"] == SHIPPED
    assert "build_py" in made["cmdclass"]
    for name in SHIPPED:
        setup["copy"](ROOT / name, tmp_path / name)
    assert project_root() == ROOT
    shipped = [path for name in SHIPPED for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    files = [path for path in shipped if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 40
    for file in files:
        assert (tmp_path / file.relative_to(ROOT)).read_bytes() == file.read_bytes()
