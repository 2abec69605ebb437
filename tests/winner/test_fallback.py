"""Where an exported kernel may not run, PyTorch does: what that costs, and what is said of it."""

import linecache
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kopt.winner.embedded import accepted
from kopt.winner.limits import WARNING
from kopt.winner.targets import module
from tests.winner.test_accepted import made, reason, x
from tests.winner.test_winner import executed, winner


class Operations(TorchDispatchMode):
    """Lists the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def model(tmp_path):
    """An exported model whose inputs, on the CPU, PyTorch takes."""
    exported = executed(module.write(winner()), tmp_path)
    return exported.KernelModel(512, 2.0), exported.Model(512, 2.0), exported


def operations(model, given):
    with torch.no_grad(), Operations() as seen:
        model(given)
    return seen.names


@pytest.mark.filterwarnings(f"ignore:{WARNING}")
def test_a_fallback_runs_the_operations_of_the_reference_and_no_other(model):
    exported, plain, _ = model
    assert operations(exported, torch.rand(3, 512)) == operations(plain, torch.rand(3, 512)) != []


@pytest.mark.filterwarnings(f"ignore:{WARNING}")
def test_a_kind_of_arguments_is_looked_at_once(model, monkeypatch):
    exported, _, file = model
    asked, plain = [], file.refusal
    monkeypatch.setattr(file, "refusal", lambda *given: asked.append(given) or plain(*given))
    with torch.no_grad():
        for rows in (3, 5, 3, 5, 3):
            exported(torch.rand(rows, 512))
    assert len(asked) == 2


def test_a_fallback_is_said_once_for_each_kind_of_reason_at_the_callers_line(model, monkeypatch):
    monkeypatch.setattr(accepted, "_TOLD", set())
    exported, _, file = model
    sizes = [f"dimension 0 of x is {size}, no power of two" for size in (3, 5, 6)]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        exported(torch.rand(3, 512))
        exported(torch.rand(5, 512))
        for reason in sizes:
            file.tell(reason)
    assert [str(one.message).partition(": ")[2] for one in seen] == ["x is no CUDA tensor", sizes[0]]
    assert [one.filename for one in seen] == [__file__, __file__]


def test_a_module_without_a_file_falls_back_too(monkeypatch):
    """Of a cell of a notebook, or a text that `exec` runs, Python knows no file."""
    name, text = "<cell 1>", module.write(winner())
    monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(True), name))
    cell = {"__name__": "cell"}
    exec(compile(text, name, "exec"), cell)
    with pytest.warns(UserWarning, match="x is no CUDA tensor") as seen, torch.no_grad():
        assert cell["KernelModel"](512, 2.0)(torch.rand(3, 512)).shape == (3, 512)
    assert [one.filename for one in seen] == [__file__]


def test_a_fallback_can_be_silenced_as_the_head_says(model):
    exported, _, _ = model
    text = module.write(winner())
    assert f"warnings.filterwarnings('ignore', '{WARNING}')" in text
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", WARNING)
        exported(torch.rand(3, 512))
    assert seen == []


def test_a_tensor_that_is_larger_than_indexes_of_the_verified_ones_reach_runs_pytorch(tmp_path):
    large, small = (torch.empty(rows, 1 << 16, dtype=torch.bfloat16, device="meta") for rows in (1 << 15, 1 << 14))
    bias = torch.empty(1 << 16, dtype=torch.bfloat16, device="meta")
    text = "x has more elements than index arithmetic in 32 bits reaches"
    exported = executed(module.write(made("related")).replace("not given.is_cuda", "not given.is_meta"), tmp_path)
    assert exported.why_not((large, bias, large), []) == text
    assert exported.why_not((small, bias, small), []) == ""
    assert reason("related", tmp_path, x(48, 64), x(64), x(48, 64)) == ""


HEADS = {
    "mixed": ("# varies     size0, size1: any size", "# fixed      dimension 2 of x is 8, dimension 0 of codes is 8"),
    "value": ("# varies     size0, size1: any size, the same", "# memory     contiguous"),
    "sliced": ("# varies     no size", "# fixed      dimension 0 of x is 48, dimension 1 of x is 32, and nothing else"),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_says_in_words_which_sizes_vary_and_which_are_fixed(name):
    text = module.write(made(name))
    for words in HEADS[name]:
        assert words in text
