"""Workloads of plain KernelBench files: small, ragged and hidden ones follow from the sizes of the inputs."""

import itertools
from pathlib import Path

import pytest

from kopt.device.reference.trial import try_sizes
from kopt.errors import ProblemError
from kopt.model.problem import Dtype
from kopt.problem.derive import SMALL, with_workloads
from kopt.problem.folder import find, load
from kopt.problem.formats import kernelbench
from kopt.problem.literals import constants, literals, named
from kopt.problem.sizes.choose import RESTS

HEAD = "import torch\nimport torch.nn as nn\n"


def written(forward, constants, inputs, init="pass", arguments="", init_inputs="", names="x"):
    return f"""{HEAD}
class Model(nn.Module):
    def __init__(self, {arguments}):
        super().__init__()
        {init}

    def forward(self, {names}):
        return {forward}

{constants}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return [{init_inputs}]
"""


FILES = {
    "softmax": written("torch.softmax(x, dim=1)", "batch_size = 4096\ndim = 393216", "torch.rand(batch_size, dim)"),
    "matmul": written(
        "a @ b", "M = 1024 * 2\nK = 4096 * 2\nN = 2048 * 2", "torch.rand(M, K), torch.rand(K, N)", names="a, b"
    ),
    "groups": written(
        "self.norm(self.linear(x))", "batch_size = 1024\nin_features = 8192\nout_features = 8192\nnum_groups = 16",
        "torch.rand(batch_size, in_features)",
        init="self.linear, self.norm = nn.Linear(i, o), nn.GroupNorm(g, o)", arguments="i, o, g",
        init_inputs="in_features, out_features, num_groups",
    ),
    "convolution": written(
        "self.conv(x) + self.bias",
        "batch_size = 128\nin_channels = 64\nout_channels = 128\nheight = width = 128\nkernel_size = 3\n"
        "bias_shape = (out_channels, 1, 1)",
        "torch.rand(batch_size, in_channels, height, width)",
        init="self.conv, self.bias = nn.Conv2d(i, o, k), nn.Parameter(torch.randn(s))", arguments="i, o, k, s",
        init_inputs="in_channels, out_channels, kernel_size, bias_shape",
    ),
    "a shape": written("x.cumsum(dim=1)", "batch_size = 32768\ninput_shape = (32768,)",
                       "torch.rand(batch_size, *input_shape)"),
    "numbers alone": written("x.sum(dim=1)", "", "torch.rand(1000, 4096)"),
    "coupled numbers": written("self.w @ x", "", "torch.rand(4096, 512)",
                               init="self.w = nn.Parameter(torch.rand(n, n))", arguments="n", init_inputs="4096"),
    "labels": written("nn.functional.cross_entropy(x, y)", "batch_size = 32768\nnum_classes = 4096",
                      "torch.rand(batch_size, num_classes), torch.randint(0, num_classes, (batch_size,))",
                      names="x, y"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_small_workloads_are_small_and_ragged_ones_no_multiples_of_tiles(name):
    problem = with_workloads(name, FILES[name])
    assert problem.main[0].constants == {}
    *even, ragged = (try_sizes(problem, workload.constants) for workload in problem.small)
    assert (problem.small[0].name, problem.small[-1].name) == ("tiles", "ragged")
    assert even[0].largest <= 4 * SMALL
    assert all(one.largest <= (32 if name == "coupled numbers" else 8) * SMALL for one in even)  # a square is long
    assert ragged.largest <= RESTS * SMALL
    assert all(size > 1 for one in (*even, ragged) for shape in one.inputs for size in shape)
    assert any(size % 16 for shape in ragged.inputs for size in shape)
    (hidden,) = problem.hidden
    assert try_sizes(problem, {}).inputs != try_sizes(problem, hidden.constants).inputs


def test_a_group_keeps_several_channels():
    problem = with_workloads("groups", FILES["groups"])
    for workload in problem.small:
        channels = workload.constants["out_features"]
        assert channels % 16 == 0
        assert channels >= 64


def test_kernel_sizes_stay_as_given():
    problem = with_workloads("convolution", FILES["convolution"])
    assert not [w for w in (*problem.small, *problem.hidden) if "kernel_size" in w.constants]


def test_numbers_that_must_change_together_do():
    problem = with_workloads("coupled", FILES["coupled numbers"])
    for workload in problem.small:
        assert len({value for name, value in workload.constants.items() if name in ("size_0", "size_2")}) == 1


@pytest.mark.parametrize(
    ("given", "dtype"),
    [("torch.rand(64, 64)", "float32"), ("torch.rand(64, 64, dtype=torch.bfloat16)", "bfloat16"),
     ("torch.rand(64, 64).half()", "float16"), ("torch.randint(0, 9, (64, 64))", "float32")],
)  # fmt: skip
def test_an_explicit_dtype_is_kept(given, dtype):
    assert with_workloads("typed", written("x * 2", "", given)).dtype == Dtype(dtype)


def test_a_model_of_fixed_size_is_refused_or_given_what_its_inputs_allow():
    huge = written("self.w(x)", "rows = 2048", "torch.rand(rows, 8192)", init="self.w = nn.Linear(8192, 8192)")
    with pytest.raises(ProblemError, match="no sizes were found at which the reference is small enough"):
        with_workloads("fixed", huge)


def test_a_reference_that_does_not_run_is_told_why():
    with pytest.raises(ProblemError, match=r"problem.py, line 10, `[^`]+`, raises RuntimeError"):
        with_workloads("wrong", written("x @ x", "", "torch.rand(3, 64)"))


@pytest.mark.parametrize("place", ["mine.py", ""])
def test_what_a_reference_raises_is_told_with_the_user_s_own_file(tmp_path, place):
    (tmp_path / "mine.py").write_text(written("x @ x", "", "torch.rand(3, 64)"))
    with pytest.raises(ProblemError, match=r"mine\.py, line 10, `[^`]+`, raises RuntimeError") as raised:
        load(tmp_path / place)
    (tmp_path / "mine.py").write_text("import nosuchmodule\n" + written("x", "", "torch.rand(3, 64)"))
    with pytest.raises(ProblemError, match=r"mine\.py, line 1 imports nosuchmodule"):
        load(tmp_path / place)
    assert "problem.py" not in str(raised.value)


def test_literals_get_names_and_comments_stay():
    source = "shape = (4, (8, 2))  # é\na, b = 3, 4\nN = 2 * 5\nM = N\ndef get_inputs():\n    return rand(64, dim=1)\n"
    assert constants(source) == ("a", "b", "N")
    assert [(literal.name, literal.value) for literal in literals(source)] == [
        ("shape_0", 4), ("shape_1", 8), ("shape_2", 2), ("size_0", 64)
    ]  # fmt: skip
    assert named(source, ["shape_1", "size_0"]) == (
        "shape_1 = 8\nshape = (4, (shape_1, 2))  # é\na, b = 3, 4\nN = 2 * 5\nM = N\n"
        "size_0 = 64\ndef get_inputs():\n    return rand(size_0, dim=1)\n"
    )
    assert named(source, []) == source


@pytest.mark.parametrize("file", ["problem.py", "23_Softmax.py"])
def test_a_folder_with_one_reference_is_a_problem_without_a_seed(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(FILES["softmax"])
    (tmp_path / "candidate.py").write_text("def kernel_function(x): ...")
    assert kernelbench.matches(find(f"{tmp_path}/", tmp_path))
    assert kernelbench.files(tmp_path) == (tmp_path / file,)


def test_such_a_problem_loads_without_a_seed(tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text(FILES["softmax"])
    problem = load(tmp_path)
    assert not problem.has_seed
    assert problem.dtype == Dtype.FLOAT32
    assert problem.reference == FILES["softmax"]


def test_a_kernel_beside_the_reference_is_its_seed(tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text(FILES["softmax"])
    (tmp_path / "kernel.py").write_text("def kernel_function(x): ...")
    assert load(tmp_path).seed.source == "def kernel_function(x): ..."
    assert kernelbench.files(tmp_path) == (tmp_path / "problem.py", tmp_path / "kernel.py")
    (tmp_path / "kernel.py").write_text("x = 1")
    with pytest.raises(ProblemError, match=r"kernel\.py defines no kernel_function"):
        load(tmp_path)


@pytest.mark.parametrize("count", [0, 2])
def test_no_reference_or_two_are_no_kernelbench_problem(tmp_path: Path, count: int) -> None:
    for place in itertools.islice("ab", count):
        (tmp_path / f"{place}.py").write_text(FILES["softmax"])
    assert not kernelbench.matches(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("x = (", "line 1: syntax error"), ("x = 1", "defines no Model")]
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "problem.py").write_text(text)
    with pytest.raises(ProblemError, match=said):
        load(tmp_path)
