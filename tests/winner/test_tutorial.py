"""The tutorial shows the files that lie beside it."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kopt.winner.targets import torch_library
from tests.winner.test_winner import winner

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("file", "first", "last"),
    [
        ("llama_norm.py", "class Model", "return [2048, 1e-6]"),
        ("tokens_per_second.py", "class FastNorm", ".reshape(hidden.shape)"),
    ],
)
def test_code_of_the_tutorial_is_that_of_its_files(file, first, last):
    text = (DOCS / "tutorial" / file).read_text()
    shown = [part.strip("\n") for part in (DOCS / "tutorial.md").read_text().split("```python\n")[1:]]
    blocks = [block.partition("```")[0].strip() for block in shown]
    lines = text[text.index(first) :]
    wanted = lines[: lines.index(last) + len(last)]
    without_docstring = wanted.replace('    """A norm of Llama that calls the operator."""\n\n', "")
    assert without_docstring in blocks


def test_a_model_that_calls_an_imported_operator_can_be_compiled(tmp_path, monkeypatch):
    llama = ModuleType("transformers.models.llama.modeling_llama")
    llama.LlamaRMSNorm = torch.nn.RMSNorm
    transformers = ModuleType("transformers")
    transformers.LlamaConfig = transformers.LlamaForCausalLM = object
    for module in (transformers, llama, ModuleType("operator_of_kopt")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    script = runpy.run_path(str(DOCS / "tutorial/tokens_per_second.py"))
    file = tmp_path / "fast_scale.py"
    file.write_text(torch_library.write(winner()))
    x, operator = torch.rand(3, 512), script["imported"](file)
    norm = script["FastNorm"](torch.nn.RMSNorm(512), operator.call_kernel)
    with torch.no_grad():
        assert torch.equal(torch.compile(norm, backend="eager", fullgraph=True)(x), norm(x))
