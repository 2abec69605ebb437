"""`kopt simplify` judges as `kopt evaluate` does, and writes a file whose head is true of it."""

import ast
import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from kopt.artifact import write_value
from kopt.cli import main
from kopt.commands.parts.one_kernel import request_for
from kopt.commands.parts.simplification import SLOWER, Bench, Simplification, result_lines, simplified
from kopt.errors import ConfigError
from kopt.simplify.search import Ancestor
from kopt.store import Store
from tests.device.small import H100, SCALE, SOURCE
from tests.view.hand_made_run import PROBLEM, finish, hand_made_run

DETOUR = SOURCE.replace("x * w * factor", "(w * x) * factor").replace("    rows, c", "    spare = 3\n    rows, c")
"""As fast as the seed kernel, and longer."""


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return hand_made_run(tmp_path, faster=DETOUR)


@pytest.fixture(scope="module")
def simplified_once(tmp_path_factory):
    """A folder with a finished run whose best kernel was simplified, the command's answer, and its lines."""
    folder = tmp_path_factory.mktemp("simplified")
    finish(hand_made_run(folder, faster=DETOUR))
    out, lines = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(lines):
        patch.chdir(folder)
        assert main(["simplify", "run", "--judge", "interpret", "--json"]) == 0
    return folder, json.loads(out.getvalue()), lines.getvalue()


@pytest.fixture
def written(simplified_once, tmp_path, monkeypatch):
    """What `kopt simplify` says of its file; the working folder is a copy of the folder that holds the run."""
    folder, answer, _ = simplified_once
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return "\n".join(result_lines(Simplification.model_validate(answer)))


@pytest.mark.xdist_group("simplify")
def test_a_step_that_does_not_pay_is_undone_and_the_file_says_so(simplified_once):
    folder, found, lines = simplified_once
    assert found["source"] == SOURCE
    assert (found["estimated"], found["ratio"]) == (True, 1.0)
    assert "undone       r1a0s0" in lines
    text = (folder / "results/run/simplified.py").read_text()
    ast.parse(text)
    for words in ("r1a0s0, simplified", "undone or removed, since it does not pay: r1a0s0", "estimated for"):
        assert words in " ".join(text.replace("#", " ").split())


@pytest.mark.xdist_group("simplify")
def test_a_simplified_kernel_is_exported_with_the_guards_of_the_best_one_and_says_what_it_is(written, capsys):
    file = "results/run/simplified.py"
    assert f"kopt export results/run --kernel {file} exports it" in written
    for form in ("module", "script", "torch-library"):
        words = ["export", "run", "--as", form, "--json", "--output"]
        assert main([*words, "best.py", "--force"]) == 0
        assert json.loads(capsys.readouterr().out)["kernel"] == "r1a0s0"
        assert main([*words, "short.py", "--kernel", file, "--force"]) == 0
        assert json.loads(capsys.readouterr().out)["kernel"] == "r1a0s0, simplified"
        best, short = Path("best.py").read_text(), Path("short.py").read_text()
        assert "(w * x) * factor" in best
        assert "(w * x) * factor" not in short
        assert "in kopt's interpreter; nothing has run on a GPU" in short
        assert "undone or removed, since it does not pay: r1a0s0" in " ".join(short.replace("#", " ").split())
        assert patterns_in(best) == patterns_in(short) != (None if form == "script" else [])
    assert short_script_equals_the_file(file)


def patterns_in(text):
    return re.findall(r"(?s)^ARGUMENTS = .*?^\)", text, flags=re.M)


def short_script_equals_the_file(file):
    assert main(["export", "run", "--as", "script", "--kernel", file, "-o", "again.py"]) == 0
    return Path("again.py").read_text() == Path(file).read_text()


@pytest.mark.xdist_group("simplify")
def test_a_kernel_that_was_not_judged_is_not_exported(written, capsys):
    file = Path("results/run/simplified.py")
    simplified_text = file.read_text()
    not_judged = "this text was not judged: kopt simplify did not write"
    for text, said in (
        (simplified_text.replace("* factor", "+ factor"), not_judged),
        (DETOUR, not_judged),
        (None, "is not a file"),
    ):
        file.unlink() if text is None else file.write_text(text)
        assert main(["export", "run", "--kernel", str(file)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert not Path("scale_module.py").exists()


@pytest.mark.xdist_group("simplify")
def test_a_kernel_that_was_judged_for_the_problem_before_an_edit_is_not_exported(written, capsys):
    file = Path("results/run/problem.json")
    edited = PROBLEM.model_copy(update={"reference": PROBLEM.reference + "\nEDITED = 1\n"})
    write_value(file, edited)
    assert main(["export", "run", "--kernel", "results/run/simplified.py"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was judged for another problem than scale is now, which was edited since: kopt simplify RUN" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "seed"], "has no step to undo"),
        (["run", "r1a0s1", "--trials", "0"], "at least 1"),
        (["nowhere"], "there is no run"),
    ],
)
def test_what_cannot_be_simplified_is_said(made, words, said, capsys):
    assert main(["simplify", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ratio", "low", "high", "outcome"),
    [
        (0.9, 0.88, 0.92, "kept"),
        (1.01, 0.99, 1.03, "kept"),
        (1.01, 1.005, 1.015, "slower"),
        (SLOWER + 0.01, 0.98, 1.1, "slower"),
    ],
)
def test_on_a_gpu_the_interval_of_the_ratio_to_the_kernel_decides(monkeypatch, tmp_path, ratio, low, high, outcome):
    raced = []

    def evaluated(request, wanted, store):
        raced.append((request.kernel.source, request.problem.seed.source))
        return _Measured(ratio, low, high)

    monkeypatch.setattr("kopt.commands.parts.simplification.evaluate_on_gpu", evaluated)
    bench = Bench(request_for(DETOUR, SCALE, seed=0, wait_s=1.0), H100, Store(tmp_path), on_gpu=True)
    assert bench.judge(SOURCE).outcome == outcome
    assert raced == [(SOURCE, DETOUR)]


def test_a_kernel_that_does_not_pass_is_not_simplified(monkeypatch, tmp_path):
    failed = _Measured(1.0, 1.0, 1.0)
    failed.status, failed.phase, failed.reason = "failed", "launch", "no"
    monkeypatch.setattr("kopt.commands.parts.simplification.evaluate_on_gpu", lambda *given: failed)
    bench = Bench(request_for(DETOUR, SCALE, seed=0, wait_s=1.0), H100, Store(tmp_path), on_gpu=True)
    lineage = [Ancestor(name=name, description="", source=source) for name, source in (("a", SOURCE), ("b", DETOUR))]
    with pytest.raises(ConfigError, match=r"b does not pass when it is judged here.*launch: no"):
        simplified(bench, lineage, most=9, say=print)


class _Measured:
    """What is read of an evaluation on a GPU."""

    status, phase, reason = "passed", "", ""

    def __init__(self, ratio, low, high):
        self.time = self
        self.ms, self.ratio, self.ratio_low, self.ratio_high = 1.0, ratio, low, high
