"""`kopt new` makes a folder of a file, a folder or a function: whole or not at all, and foreign code in the cage."""

import json
import os
from pathlib import Path

import pytest
import yaml

from kopt import cli
from kopt.errors import ProblemError
from kopt.model.problem import Dtype, Problem
from kopt.problem.folder import format_of, load
from kopt.problem.formats import kernelagent, kernelbench
from kopt.problem.literals import named
from kopt.problem.make import Wanted, made
from kopt.problem.write import check_free, write_folder

REFERENCE = """import os
import torch
from torch import nn

class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)

def get_inputs():
    return [torch.rand(4096, 8192)]

def get_init_inputs():
    return []
"""


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_kernelbench_file_becomes_a_folder_that_loads_without_running_anything(tmp_path, capsys, monkeypatch):
    (tmp_path / "23_Softmax.py").write_text(REFERENCE)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "problems/softmax", "--from", "23_Softmax.py"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "input      x 4096 x 8192, float32" in said
    rule = "sizes      an exported kernel takes any x.shape[0]; x.shape[1]: multiples of 8; PyTorch runs for others; "
    assert any(line.startswith(rule) for line in said)
    assert (
        "seed       none; a search makes one of the reference if it can, which kopt check tries; or write kernel.py"
        in said
    )
    assert said[-1] == "next       kopt check problems/softmax"
    folder = tmp_path / "problems/softmax"
    assert listed(folder) == ["problem.py", "problem.yaml"]
    assert (folder / "problem.py").read_text() == REFERENCE  # unchanged, though its numbers have no names
    monkeypatch.setattr("kopt.problem.formats.native.complete", None)
    problem = load(folder)
    assert problem.reference == named(REFERENCE, ["size_0", "size_1"])
    assert {name for w in problem.small for name in w.constants} == {"size_0", "size_1"}
    assert "# size_0 is the number 4096 in line 10 of problem.py" in (folder / "problem.yaml").read_text()
    assert cli.main(["new", "problems/softmax", "--from", "23_Softmax.py"]) == 2
    assert "is there already: choose another name, or --force" in capsys.readouterr().err


HOSTILE = REFERENCE.replace(
    "class Model",
    "try:\n    open({place!r}, 'w').write('x')\nexcept OSError:\n    written = False\nelse:\n    written = True\n"
    "if written or os.environ.get('SECRET_KEY'):\n    raise RuntimeError('not in a cage')\n\nclass Model",
)


def test_a_foreign_file_runs_where_it_can_write_nothing_and_reads_no_key(tmp_path, monkeypatch):
    place = tmp_path / "written"
    monkeypatch.setenv("SECRET_KEY", "x")
    (tmp_path / "hostile.py").write_text(HOSTILE.replace("{place!r}", repr(str(place))))
    assert made(Wanted(name="hostile", source=str(tmp_path / "hostile.py"))).files["problem.yaml"]
    assert not place.exists()


@pytest.mark.parametrize("death", ["os._exit(3)", "raise SystemExit('no')"])
def test_nothing_is_written_when_the_source_dies(tmp_path, capsys, monkeypatch, death):
    (tmp_path / "bad.py").write_text(REFERENCE.replace("class Model", f"{death}\n\nclass Model"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "out/bad", "--from", "bad.py"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kopt: error: bad")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "problem"
    with pytest.raises(ProblemError, match="cannot be written"):
        write_folder(folder, {"problem.py": "x", "problem.py/inner": "y"}, force=False)
    assert os.listdir(tmp_path) == []
    assert write_folder(folder, {"a": "1"}, force=False) is None
    before = write_folder(folder, {"b": "2"}, force=True)
    assert listed(folder) == ["b"]
    assert listed(before) == ["a"]  # what was there is kept


def test_a_place_that_is_taken_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ProblemError, match="is there and is no folder"):
        check_free(tmp_path / "file", force=True)


WRONG = {
    "nowhere.py": "no such file or folder; did you mean 'somewhere.py'?",
    "somewhere.py": "defines no Model with get_inputs and get_init_inputs; it defines gelu: to take one function of "
    "it, write --from somewhere.py:gelu",
    "new.py": "defines ModelNew and no Model: give the file with Model by --from, and this one by --kernel",
    "empty": "the folder holds no problem; give a KernelBench file, ",
    "data.txt": "in no format that kopt knows; give a KernelBench file, ",
    "nowhere.py:f": "there is no file nowhere.py",
    ":f": "write package.module:function, or file.py:function",
}


@pytest.mark.parametrize("source", WRONG)
def test_a_source_that_is_none_is_said_in_one_line(tmp_path, capsys, monkeypatch, source):
    (tmp_path / "somewhere.py").write_text("def gelu(x):\n    return x\n")
    (tmp_path / "new.py").write_text("class ModelNew: ...\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "out/p", "--from", source]) == 2
    error = capsys.readouterr().err
    assert WRONG[source] in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bad name!"], "cannot be a problem's name"),
        (["../"], "cannot be a problem's name"),
        (["out/p", "--wrt", "x"], "--wrt says what to differentiate for: give --backward too"),
        (["out/p", "--inputs", "torch.rand(2)"], "--inputs and --init are for functions"),
    ],
)
def test_words_that_do_not_fit_are_said_in_one_line(tmp_path, capsys, monkeypatch, words, said):
    (tmp_path / "softmax.py").write_text(REFERENCE)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", *words, "--from", "softmax.py"]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def agent(tmp_path):
    """A folder as KernelAgent has it."""
    folder = tmp_path / "optimize_softmax"
    folder.mkdir()
    (folder / "problem.py").write_text(REFERENCE)
    (folder / "input.py").write_text("def kernel_function(x):\n    return x\n")
    (folder / "test.py").write_text("def test():\n    dtype = torch.float16\n    rtol = 1e-2\n")
    return folder


def test_a_folder_of_kernelagent_gives_reference_seed_and_dtype(agent):
    draft = kernelagent.draft(agent)
    assert format_of(agent) is kernelagent.FORMAT
    assert draft.reference == REFERENCE
    assert "kernel_function" in draft.seed
    assert draft.dtype is Dtype.FLOAT16
    (agent / "test.py").write_text("pass")
    assert kernelagent.draft(agent).dtype is Dtype.BFLOAT16


def test_a_declaration_makes_it_a_folder_of_kopt(agent):
    (agent / "problem.yaml").write_text("dtype: float32")
    assert not kernelagent.matches(agent)


def test_a_model_new_beside_the_reference_is_the_kernel(tmp_path):
    (tmp_path / "reference.py").write_text(REFERENCE)
    (tmp_path / "new.py").write_text("class ModelNew: ...\n")
    assert kernelbench.matches(tmp_path)
    assert kernelbench.draft(tmp_path).seed == "class ModelNew: ...\n"
    (tmp_path / "newer.py").write_text("class ModelNew: ...\n")
    with pytest.raises(ProblemError, match=r"new.py and newer.py both define ModelNew: keep one"):
        kernelbench.draft(tmp_path)


def test_the_folder_is_read_as_it_was_printed(tmp_path, capsys, monkeypatch):
    (tmp_path / "softmax.py").write_text(REFERENCE)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "./out", "--from", "softmax.py", "--dtype", "bfloat16", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert load(tmp_path / "out") == Problem.model_validate(printed["problem"])
    assert yaml.safe_load(printed["files"]["problem.yaml"])["dtype"] == "bfloat16"
    assert any("made in float32 and given in bfloat16: x;" in note for note in printed["notes"])


def test_weights_that_get_another_dtype_than_they_are_made_in_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rope.py").write_text(
        "import torch\nfrom torch import nn\n\nclass Model(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.register_buffer('inv_freq', torch.ones(64))\n\n"
        "    def forward(self, x):\n        return x * self.inv_freq\n\n"
        "def get_inputs():\n    return [torch.randn(32, 64, dtype=torch.bfloat16)]\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    assert cli.main(["new", "./problems/rope", "--from", "rope.py"]) == 0
    assert "made in float32 and given in bfloat16: inv_freq; all floating-point inputs, parameters and buffers" in (
        capsys.readouterr().out
    )
