"""Load the corpus of idioms: right kernels over many kinds of operators, in the styles found in the wild.

Each file of `benchmarks/idioms` is one problem and one right kernel, divided by the line `MARKER`:

- a docstring, whose first line says what the operator is, and whose other lines are YAML: `kind` (of operator), `style`
  (of writing), `dtype`, `small` (a list of workloads; the last is the hidden one on a GPU, too), and whatever else a
  `problem.yaml` may declare;
- the reference: `inputs()` and `reference(...)`, or `Model` where it has parameters, with the main sizes as constants;
- the kernel, with `kernel_function`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import yaml

from kopt.model.kernel import Kernel
from kopt.model.problem import InputRule, Problem, Workload
from kopt.problem.formats.native import Declaration

FOLDER = Path(__file__).with_name("idioms")
MARKER = "# --- kernel ---\n"

IMPORTS = """\
import math

import torch
import torch.nn.functional as F
from torch import nn

"""


class Idiom(NamedTuple):
    """A problem whose seed kernel is right, and what the problem stands for."""

    problem: Problem
    kind: str
    """Kind of operator."""
    style: str
    """Style in which the kernel is written."""

    @property
    def name(self) -> str:
        """Return the name of the problem."""
        return self.problem.name

    def save(self, folder: Path) -> None:
        """Write the problem into a folder in kopt's own format."""
        problem = self.problem
        declared = problem.model_dump(
            mode="json", include={"dtype", "tolerance", "mutates", "inputs", "layout", "floor"}, exclude_none=True
        )
        kinds = {"main": problem.main, "hidden": problem.hidden, "small": problem.small}
        workloads = {kind: {one.name: one.constants for one in several} for kind, several in kinds.items()}
        folder.mkdir()
        (folder / "problem.py").write_text(problem.reference)
        (folder / "kernel.py").write_text(problem.seed.source)
        (folder / "problem.yaml").write_text(yaml.safe_dump({**declared, "workloads": workloads}))


def idioms() -> tuple[Idiom, ...]:
    """Read all idioms, by name."""
    return tuple(read(path) for path in sorted(FOLDER.glob("*.py")))


def read(path: Path) -> Idiom:
    """Read one idiom."""
    reference, kernel = path.read_text().split(MARKER)
    tree = ast.parse(reference)
    title, _, header = (ast.get_docstring(tree) or "").partition("\n")
    declared = yaml.safe_load(header)
    kind, style, small = (declared.pop(key) for key in ("kind", "style", "small"))
    sizes = {f"small{place}": constants for place, constants in enumerate(small)}
    workloads = {"main": {"main": {}}, "hidden": {"ragged": small[-1]}, "small": sizes}
    declaration = Declaration.model_validate({**declared, "workloads": workloads})
    problem = Problem(
        name=path.stem,
        reference=f'"""{title}"""\n\n{IMPORTS}{_reference(tree)}',
        seed=Kernel(source=kernel.lstrip()),
        dtype=declaration.dtype,
        main=_workloads(declaration.workloads.main),
        hidden=_workloads(declaration.workloads.hidden),
        small=_workloads(declaration.workloads.small),
        tolerance=declaration.tolerance,
        mutates=declaration.mutates,
        inputs={k: v if isinstance(v, InputRule) else InputRule(keep=v) for k, v in declaration.inputs.items()},
        layout=declaration.layout,
        floor=declaration.floor,
    )
    return Idiom(problem, kind, style)


def _workloads(declared: dict[str, dict[str, int]]) -> tuple[Workload, ...]:
    return tuple(Workload(name=name, constants=constants) for name, constants in declared.items())


def _reference(tree: ast.Module) -> str:
    """Return the text of a reference as KernelBench writes it: `Model`, `get_inputs`, `get_init_inputs`."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    functions["inputs"].name = "get_inputs"  # type: ignore[union-attr]
    text = ast.unparse(ast.Module(body=tree.body[1:], type_ignores=[]))
    if "Model" not in functions:
        names = ", ".join(argument.arg for argument in functions["reference"].args.args)  # type: ignore[union-attr]
        text += (
            "\n\n\nclass Model(nn.Module):\n"
            f"    def forward(self, {names}):\n"
            f"        return reference({names})"
        )  # fmt: skip
    if "get_init_inputs" not in functions:
        text += "\n\n\ndef get_init_inputs():\n    return []"
    return text + "\n"
