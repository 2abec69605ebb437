"""Write a kernel as one module that runs without kopt, and checks and times itself as a script."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

from kopt.neutral import visible
from kopt.winner import provenance
from kopt.winner.winner import Winner

EMBEDDED = Path(__file__).parent / "embedded"
"""Folder of the modules whose text is written; rule finish names its files."""

REFERENCES = Path(__file__).parents[1] / "device" / "reference"
"""Folder of the module `modes`, whose text is written too."""


def standalone(winner: Winner) -> str:
    """Return the text of the module."""
    text = winner.text
    parts = [f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}", text.imports, text.body]
    return "\n\n".join([*(part for part in parts if part), "\n" + self_check(winner)]) + "\n"


def self_check(winner: Winner) -> str:
    """Return the block of a script that checks the kernel on a GPU, and times it, or else in Triton's interpreter."""
    problem = winner.problem
    workloads = {one.name: dict(one.constants) for one in (*problem.main, *problem.hidden)}
    small = {one.name: dict(one.constants) for one in problem.small}
    code = [
        *embedded("arguments"),
        *embedded("modes", REFERENCES),
        *embedded("undecided"),
        *embedded("widened"),
        *embedded("interpreted"),
        *embedded("self_check"),
        f"REFERENCE = {quoted(problem.reference)}",
        f"WORKLOADS = {workloads!r}",
        f"SMALL = {small!r}",
        f"DTYPE = {None if problem.keep_dtypes else f'torch.{problem.dtype.value}'}",
        f"raise SystemExit(check({problem.seed.entry}, {problem.name!r}, REFERENCE, DTYPE, WORKLOADS, SMALL))",
    ]
    body = "\n\n".join(code[:-5]) + "\n\n" + "\n".join(code[-5:])
    return f'if __name__ == "__main__":\n\n    def _check_and_time():\n{_indented(body, 8)}\n\n    _check_and_time()'


def embedded(name: str, folder: Path = EMBEDDED) -> list[str]:
    """Return imports and definitions of a module, of `kopt.winner.embedded` unless another folder is given, as text."""
    text = (folder / f"{name}.py").read_text(encoding="utf-8")
    lines, nodes = text.splitlines(), ast.parse(text).body
    imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) and "kopt." not in ast.unparse(n)]
    return ["\n".join(_text(lines, node) for node in imports), *(_text(lines, n) for n in _definitions(nodes))]


def quoted(text: str) -> str:
    """Return a literal of a text, readable where its characters allow it."""
    for quotes in ("'''", '"""'):
        if quotes not in text and "\\" not in text and not text.endswith(quotes[0]) and visible(text) == text:
            return f"{quotes}{text}{quotes}"
    return repr(text)


def _definitions(nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)]


def _text(lines: Sequence[str], node: ast.stmt) -> str:
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])


def _indented(text: str, spaces: int) -> str:
    """Indent code, but not the lines inside of texts that are quoted three times."""
    inside = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value
        if not text.splitlines()[node.lineno - 1].lstrip().startswith('"""')
        for line in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
    }
    lines = text.split("\n")
    return "\n".join(line if n in inside else indent(line, " " * spaces) for n, line in enumerate(lines, 1))
