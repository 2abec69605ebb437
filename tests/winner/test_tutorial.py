"""The tutorial shows the files that lie beside it."""

from pathlib import Path

import pytest

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
