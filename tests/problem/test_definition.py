"""Definitions of SOL-ExecBench and FlashInfer-Bench become references, workloads and kernels."""

import json

import pytest
import torch

from kopt.errors import ProblemError
from kopt.problem.derive import derived
from kopt.problem.formats import definition


def module_of(source):
    namespace = {"__name__": "alone"}
    exec(compile(source, "problem.py", "exec"), namespace)
    return namespace


RUN = """import torch

def run(a, b, eps):
    assert a.shape[0] == 96
    assert a.min() < 0 and \\
        b.numel() > 0
    return {"total": a.sum(), "out": a @ b.T + eps}
"""
DEFINITION = {
    "name": "gemm", "op_type": "gemm", "tags": ["x"],
    "axes": {"M": {"type": "const", "value": 96}, "N": {"type": "var", "description": None},
             "K": {"type": "var"}, "KK": {"type": "expr", "expression": "K * 2"}},
    "inputs": {"a": {"shape": ["M", "KK"], "dtype": "float32"}, "b": {"shape": ["N", "KK"], "dtype": "float32"},
               "eps": {"shape": None, "dtype": "float32"}},
    "outputs": {"out": {"shape": ["M", "N"], "dtype": "float32"}, "total": {"shape": [], "dtype": "float32"}},
    "constraints": ["N >= 2", "len(a) > 0"], "reference": RUN,
}  # fmt: skip
RANDOM = {"a": {"type": "random"}, "b": {"type": "random"}, "eps": {"type": "scalar", "value": 0.5}}
VALUE = "import torch\ndef run(a, b, eps):\n    return a @ b.T + eps, a.sum()\n"
DESTINATION = "def run(a, b, eps, out, total):\n    out.copy_(a @ b.T + eps)\n    total.copy_(a.sum())\n"


def solution(name, source, style, language="triton"):
    spec = {
        "language": language,
        "target_hardware": ["x"],
        "entry_point": "k.py::run",
        "destination_passing_style": style,
    }
    return {
        "name": name,
        "definition": "gemm",
        "author": "x",
        "spec": spec,
        "sources": [{"path": "k.py", "content": source}],
    }


@pytest.fixture
def folder(tmp_path):
    """A definition with three workloads, one of them within a trace, and three solutions."""
    sizes = [{"N": 64, "K": 24}, {"N": 512, "K": 24}, {"N": 128, "K": 48}]
    entries = [{"uuid": str(at), "axes": axes, "inputs": RANDOM} for at, axes in enumerate(sizes)]
    lines = [*entries[:2], {"definition": "gemm", "workload": entries[2], "solution": None}]
    (tmp_path / "definition.json").write_text(json.dumps(DEFINITION))
    (tmp_path / "workload.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "solution_a.json").write_text(json.dumps(solution("by value", VALUE, False)))
    (tmp_path / "solution_b.json").write_text(json.dumps(solution("destination", DESTINATION, True)))
    (tmp_path / "solution_c.json").write_text(json.dumps(solution("cuda", "x", True, "cuda")))
    return tmp_path


def test_a_definition_gives_reference_workloads_and_kernels(folder):
    draft = definition.draft(folder)
    assert [workload.name for workload in draft.main] == ["N512_K24", "N128_K48", "N64_K24"]
    assert [w.constants for w in draft.main] == [{}, {"N": 128, "K": 48}, {"N": 64, "K": 24}]
    assert any("solution cuda is left out: it is written in cuda" in note for note in draft.notes)
    assert list(draft.kernels) == ["destination.py"]
    result = derived(draft)
    assert [spec.shape for spec in result.signature.inputs] == [(96, 48), (512, 48)]
    assert result.signature.values == ("eps = 0.5",)
    assert [spec.shape for spec in result.signature.outputs] == [(96, 512), ()]
    assert not [w for w in result.problem.small if "M" in w.constants]  # the reference asserts it


@pytest.mark.parametrize("style", ["by value", "destination"])
def test_a_solution_s_entry_point_returns_the_outputs_in_order(folder, style):
    draft = definition.draft(folder)
    source = draft.seed if style == "by value" else draft.kernels["destination.py"]
    a, b = torch.randn(4, 6), torch.randn(3, 6)
    out, total = module_of(source)["kernel_function"](a, b, 0.5)
    torch.testing.assert_close(out, a @ b.T + 0.5)
    torch.testing.assert_close(total, a.sum())


def test_inputs_of_a_definition_s_own_function(folder):
    made = "def get_inputs(axes, device):\n    n = axes['N']\n    return {'index': torch.arange(n, device=device)}\n"
    raw = {
        "name": "gather", "axes": {"N": {"type": "var"}}, "custom_inputs_entrypoint": "get_inputs",
        "inputs": {"index": {"shape": ["N"], "dtype": "int64"}}, "outputs": {"out": {"shape": ["N"], "dtype": "int64"}},
        "reference": f"import torch\n{made}\ndef run(index):\n    return (index * 2,)\n",
    }  # fmt: skip
    (folder / "definition.json").write_text(json.dumps(raw))
    line = {"uuid": "1", "axes": {"N": 512}, "inputs": {"index": {"type": "custom"}}}
    (folder / "workload.jsonl").write_text(json.dumps(line))
    result = derived(definition.draft(folder))
    assert [spec.shape for spec in result.signature.outputs] == [(512,)]


WRONG = [
    ({"reference": "def go(x): ..."}, "its reference defines no function run"),
    ({"reference": "def run(x: ..."}, "line 1: syntax error"),
    ({"axes": {"M": {"type": "const", "value": -1}}}, "axes.M.const.value: must be at least 0"),
    ({"axes": {"M": {"type": "expr", "expression": "__import__('os')"}}}, "axis M is no formula of other axes"),
    ({"axes": {"M": {"type": "const", "value": 1}}}, "a has an axis 'KK', which axes does not define"),
    ({"inputs": {"a b": {"shape": [], "dtype": "int8"}}}, "'a b' cannot be the name of a variable"),
    ({"custom_inputs_entrypoint": "f"}, "its reference defines no f, which is to make the inputs"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_bad_definition_is_one_clear_line(folder, change, said):
    (folder / "definition.json").write_text(json.dumps({**DEFINITION, **change}))
    with pytest.raises(ProblemError) as caught:
        definition.draft(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workloads_that_cannot_be_drawn_anew_are_told(folder):
    stored = {"type": "safetensors", "path": "x", "tensor_key": "a"}
    (folder / "workload.jsonl").write_text(
        json.dumps({"uuid": "1", "axes": {"N": 4, "K": 4}, "inputs": {**RANDOM, "a": stored}})
    )
    assert any("a: drawn at random, not read from safetensors" in note for note in definition.draft(folder).notes)
    raw = {**DEFINITION, "inputs": {**DEFINITION["inputs"], "a": {"shape": ["M", "KK"], "dtype": "int32"}}}
    (folder / "definition.json").write_text(json.dumps(raw))
    with pytest.raises(ProblemError, match="all workloads read a from safetensors"):
        definition.draft(folder)
    (folder / "workload.jsonl").unlink()
    with pytest.raises(ProblemError, match=r"no workloads were found, which give sizes to N, K: put workload.jsonl"):
        definition.draft(folder)
