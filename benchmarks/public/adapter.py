"""Describe a published kernel as a problem with a candidate: which file, what it computes, how it is called.

The text of a function is written as `arguments: expression`, or `arguments:` and statements with a `return`.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import NamedTuple

from public.inline import cut_at_tests, definitions, needed_definitions
from verdict_cases import Case

from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, InputRule, Layout, Problem, Tolerance, Workload

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
"""Imports of every reference."""
FOR_ENTRY = "import torch\nimport triton\nimport triton.language as tl\n"
"""Imports that an entry point may need beside those of its file."""


class Adapter(NamedTuple):
    """A published kernel and what it should compute."""

    name: str
    file: str
    """Path within the repository's sources."""
    forward: str
    """The reference in PyTorch; it may use the sizes as constants."""
    inputs: str
    """Expressions of the inputs, separated by commas."""
    entry: str
    """The candidate's entry point, which calls the file's wrapper or launches its kernel as the wrapper does; empty
    where the file has `kernel_function`."""
    main: str
    """Sizes at full scale, `M=4096, N=8192`."""
    small: str
    """Sizes for the interpreter, workloads separated by `;`."""
    dtype: str = "float32"
    before: str = ""
    """Code that the reference's module needs beside the model."""
    stubs: str = ""
    """Replacements of definitions that belong to the repository's own framework."""
    replace: tuple[tuple[str, str], ...] = ()
    """Texts of the file to replace, old and new."""
    tolerance: Tolerance | None = None
    mutates: tuple[str, ...] = ()
    rules: tuple[tuple[str, InputRule], ...] = ()
    """Rules for draws, by input."""
    layout: Layout = Layout.REFERENCE
    ends: str = "passed"
    """The right end."""
    why: str = ""
    """Why the right end is not `passed`: what is wrong in the original, or what a candidate may not do."""


class Repository(NamedTuple):
    """A repository's adapters."""

    name: str
    """Name of its folder."""
    sources: str
    """Folder of the sources, which module names start from."""
    adapters: tuple[Adapter, ...]
    whole: bool = False
    """Keep a file as it is, up to its tests, rather than the needed definitions alone."""
    stubs: str = ""
    """Replacements of definitions that belong to the repository's own framework, for all adapters."""
    replace: tuple[tuple[str, str], ...] = ()
    """Texts to replace in all files, old and new."""


def make_case(repository: Repository, adapter: Adapter, checked_out: Path) -> Case:
    """Return the problem and the candidate of an adapter; `checked_out` holds the repositories."""
    problem = make_problem(repository, adapter)
    source = candidate(repository, adapter, checked_out / repository.name / repository.sources)
    kernel = Kernel(source=source)
    return Case(problem.name, problem.model_copy(update={"seed": kernel}), kernel)


def make_problem(repository: Repository, adapter: Adapter) -> Problem:
    """Return the problem of an adapter, with an empty seed."""
    constants = "".join(f"{name} = {value}\n" for name, value in sizes(adapter.main).items())
    forward = function("forward", adapter.forward, first="self")
    model = "class Model(nn.Module):\n" + textwrap.indent(forward, "    ")
    inputs = f"def get_inputs():\n    return [{adapter.inputs}]\n\ndef get_init_inputs():\n    return []\n"
    small = [Workload(name=f"small{at}", constants=sizes(text)) for at, text in enumerate(adapter.small.split(";"))]
    return Problem(
        name=f"{repository.name}/{adapter.name}",
        reference="\n".join((HEAD, constants, textwrap.dedent(adapter.before), model, inputs)),
        seed=Kernel(source=""),
        dtype=Dtype(adapter.dtype),
        main=(Workload(name="main"),),
        small=tuple(small),
        tolerance=adapter.tolerance,
        mutates=adapter.mutates,
        inputs=dict(adapter.rules),
        layout=adapter.layout,
    )


def candidate(repository: Repository, adapter: Adapter, sources: Path) -> str:
    """Return the file's text, made self-contained, with an entry point."""
    stubs = textwrap.dedent(repository.stubs) + textwrap.dedent(adapter.stubs)
    entry = function("kernel_function", adapter.entry) if adapter.entry else ""
    path = sources / adapter.file
    if repository.whole:
        text = cut_at_tests(path.read_text(encoding="utf-8"))
    else:
        text = needed_definitions(sources, path, entry, definitions(stubs))
    for old, new in (*repository.replace, *adapter.replace):
        text = text.replace(old, new)
    future = "from __future__ import annotations\n"
    first = future if future in text else ""
    return "\n\n".join((first + FOR_ENTRY, stubs, text.replace(future, ""), entry))


def function(name: str, text: str, first: str = "") -> str:
    """Return the definition of a function given as `arguments: expression` or `arguments:` and statements."""
    arguments, _, body = text.partition(":")
    body = textwrap.dedent(body.lstrip(" ").removeprefix("\n")).strip()
    arguments = ", ".join(filter(None, (first, arguments.strip())))
    if not _is_statements(body):
        body = f"return ({body})"
    return f"def {name}({arguments}):\n" + textwrap.indent(body, "    ") + "\n"


def sizes(text: str) -> dict[str, int]:
    """Return the sizes of a workload given as `M=4096, N=8192`."""
    pairs = (pair.split("=") for pair in text.split(",") if pair.strip())
    return {name.strip(): int(value) for name, value in pairs}


def _is_statements(body: str) -> bool:
    try:
        ast.parse(body, mode="eval")
    except SyntaxError:
        return True
    return False
