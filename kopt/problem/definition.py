"""Write a reference and entry points for a definition of SOL-ExecBench or FlashInfer-Bench.

A definition holds named axes, inputs and outputs over them, and a reference with a function `run`.  Axes become module
constants, so that workloads can override them.  Only text is made here; nothing is run.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any  # syntax trees, as `ast` types them

from kopt.errors import ProblemError
from kopt.problem.definition_schema import Constant, Definition, Expression, Solution, Variable, WorkloadEntry
from kopt.problem.source import REQUIRED, defined, parsed

DEFINITION = "DEFINITION"
"""Name of the constant of a reference that holds the name of the definition from which it was made."""
ON_VALUES = {"min", "max", "item", "all", "any", "tolist", "isnan", "isfinite", "equal", "allclose"}
"""Methods by which an assertion reads values, which a tensor at full size does not have."""


def reference_of(definition: Definition, workload: WorkloadEntry, varying: Mapping[str, int]) -> str:
    """Write `problem.py` for a definition with the sizes of a workload.

    Args:
        definition: the definition.
        workload: gives the sizes of the variable axes, and where inputs come from.
        varying: numbers among the inputs that workloads override, by name.

    Raises:
        ProblemError: the definition cannot be written as a module.
    """
    check(definition)
    sizes = axis_sizes(definition, workload)
    numbers = {name: size for name, size in sizes.items() if isinstance(size, int)} | dict(varying)
    formulas = {name: size for name, size in sizes.items() if isinstance(size, str)}
    names = ", ".join(definition.inputs)
    custom = definition.custom_inputs_entrypoint if _is_custom(workload) else None
    asserts = [text for text in definition.constraints or () if _names_in(text) <= set(sizes)]
    if custom is not None:
        scalars = [name for name, source in workload.inputs.items() if source.type == "scalar"]
        given = ", ".join(f'"{name}": {name}' for name in sizes)
        given += "".join(f', "{name}": {_scalar(name, workload, varying)}' for name in scalars)
        values = [
            _scalar(name, workload, varying) if name in scalars else f'made["{name}"]' for name in definition.inputs
        ]
        making = [f'    made = _custom_inputs({{{given}}}, torch.device("cuda"))']
    else:
        values = [_made(name, definition, workload, varying) for name in definition.inputs]
        making = []
    lines = [
        f"# {definition.name}: made by `kopt new` from a definition; sizes of its axes are constants below.",
        definition.reference.strip(), "", "",
        "import torch", "from torch import nn", "",
        f"{DEFINITION} = {definition.name!r}",
        *(f"{name} = {number}" for name, number in numbers.items()),
        *(f"{name} = {formula}" for name, formula in formulas.items()),
        *(["", f"_custom_inputs = {custom}"] if custom else []),
        "", "", *outputs_function(definition), "", "",
        "class Model(nn.Module):",
        f"    def forward(self, {names}):",
        f"        return _outputs(run({names}))", "", "",
        "def get_inputs():",
        *(f"    assert {text}" for text in asserts), *making,
        f"    return [{', '.join(values)}]", "", "",
        "def get_init_inputs():", "    return []", "",
    ]  # fmt: skip
    return "\n".join(lines)


def kernel_of(definition: Definition, solution: Solution) -> str:
    """Write a kernel's file for a solution: its source, and below it an entry point that returns the outputs.

    Raises:
        ProblemError: the solution has several files, or no Python.
    """
    languages = {language.lower() for language in (*solution.spec.languages, solution.spec.language) if language}
    if not languages & {"triton", "python"}:
        raise ProblemError(f"it is written in {', '.join(sorted(languages)) or 'no language'}, not in Triton")
    if len(solution.sources) > 1:
        raise ProblemError(f"it has {len(solution.sources)} files, a kernel has one")
    file, _, function = solution.spec.entry_point.partition("::")
    source = solution.sources[0].content
    if function not in defined(parsed(source, file)):
        raise ProblemError(f"{file} defines no {function}")
    names = list(definition.inputs)
    call = f"_solution({', '.join(names)})"
    body = [f"    return _outputs({call})"]
    if solution.spec.destination_passing_style:
        tensor = next(name for name, spec in definition.inputs.items() if spec.shape is not None)
        made = [
            f"    {name} = _torch.empty({_shape(spec.shape or (), definition)}, dtype={_dtype(spec.dtype, '_torch')}, "
            f"device={tensor}.device)"
            for name, spec in definition.outputs.items()
        ]
        results = ", ".join(definition.outputs)
        body = [*made, f"    _solution({', '.join([*names, *definition.outputs])})", f"    return {results}"]
    helper = [] if solution.spec.destination_passing_style else [*outputs_function(definition), "", ""]
    return "\n".join(
        [
            source.rstrip(), "", "", "import torch as _torch", "", f"_solution = {function}", "", "", *helper,
            f"def kernel_function({', '.join(names)}):",
            f'    """Call {function} of the solution {solution.name!r}."""', *body, "",
        ]
    )  # fmt: skip


def check(definition: Definition) -> None:
    """Refuse a definition that cannot be written as a module.

    Raises:
        ProblemError: one line that says why.
    """
    own = defined(parsed(definition.reference, f"{definition.name}: its reference"))
    if "run" not in own:
        raise ProblemError(f"{definition.name}: its reference defines no function run")
    if "Model" in own or "get_init_inputs" in own:
        raise ProblemError(f"{definition.name}: its reference defines {REQUIRED[0]} or {REQUIRED[2]} itself: rename it")
    custom = definition.custom_inputs_entrypoint
    if custom and custom not in own:
        raise ProblemError(f"{definition.name}: its reference defines no {custom}, which is to make the inputs")
    for name in (*definition.axes, *definition.inputs, *definition.outputs):
        if not name.isidentifier() or name in ("self", "run"):
            raise ProblemError(f"{definition.name}: {name!r} cannot be the name of a variable")
    for name, axis in definition.axes.items():
        if isinstance(axis, Expression) and not _is_formula(axis.expression, set(definition.axes)):
            raise ProblemError(f"{definition.name}: axis {name} is no formula of other axes: {axis.expression!r}")
    for name, spec in {**definition.inputs, **definition.outputs}.items():
        unknown = [axis for axis in spec.shape or () if axis not in definition.axes]
        if unknown:
            raise ProblemError(f"{definition.name}: {name} has an axis {unknown[0]!r}, which axes does not define")


def axis_sizes(definition: Definition, workload: WorkloadEntry) -> dict[str, int | str]:
    """Return sizes of constant and variable axes, then formulas in an order in which each can be computed.

    Raises:
        ProblemError: the workload gives no size to an axis.
    """
    sizes: dict[str, int | str] = {}
    for name, axis in definition.axes.items():
        if isinstance(axis, Constant):
            sizes[name] = axis.value
        elif isinstance(axis, Variable):
            if name not in workload.axes:
                raise ProblemError(f"{definition.name}: workload {workload.uuid} gives no size to axis {name}")
            sizes[name] = workload.axes[name]
    formulas = {name: axis.expression for name, axis in definition.axes.items() if isinstance(axis, Expression)}
    while formulas:
        ready = [name for name, text in formulas.items() if _names_in(text) <= set(sizes)]
        if not ready:
            raise ProblemError(f"{definition.name}: axes {', '.join(formulas)} follow from each other")
        for name in ready:
            sizes[name] = formulas.pop(name).replace("/", "//").replace("////", "//")
    return sizes


def without_value_asserts(source: str) -> tuple[str, int]:
    """Return a reference without assertions on values, and their number: at full size tensors have no values."""
    lines = source.splitlines()
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert) and _reads_values(node.test)]
    for node in found:
        assert node.end_lineno is not None
        indent = lines[node.lineno - 1][: node.col_offset]
        if not indent.strip():
            rest = [f"{indent}# {line.strip()}" for line in lines[node.lineno : node.end_lineno]]
            first = lines[node.lineno - 1].strip()
            lines[node.lineno - 1 : node.end_lineno] = [f"{indent}pass  # without values: {first}", *rest]
    return "\n".join(lines) + "\n", len(found)


def outputs_function(definition: Definition) -> list[str]:
    """Return the lines of a function that puts outputs in order; one alone is no tuple."""
    names = _tuple([f'"{name}"' for name in definition.outputs])
    return [
        "def _outputs(result):",
        "    if isinstance(result, dict):",
        f"        result = tuple(result[name] for name in {names})",
        "    return result[0] if isinstance(result, (tuple, list)) and len(result) == 1 else result",
    ]


def _made(name: str, definition: Definition, workload: WorkloadEntry, varying: Mapping[str, int]) -> str:
    """Write the expression that makes an input, as FlashInfer-Bench draws random ones."""
    spec = definition.inputs[name]
    if spec.shape is None:
        return _scalar(name, workload, varying)
    shape, dtype = _tuple(spec.shape), _dtype(spec.dtype, "torch")
    match spec.dtype:
        case "bool":
            return f"torch.randint(0, 2, {shape}, dtype={dtype})"
        case "int8":
            return f"torch.randint(-128, 128, {shape}, dtype={dtype})"
        case "uint8":
            return f"torch.randint(0, 256, {shape}, dtype={dtype})"
        case "int16" | "int32" | "int64":
            return f"torch.randint(-1024, 1024, {shape}, dtype={dtype})"
        case "float16" | "bfloat16" | "float32" | "float64":
            return f"torch.randn({shape}, dtype={dtype})"
        case "float8_e4m3fn" | "float8_e5m2":
            return f"torch.randn({shape}).clamp(-2.0, 2.0).to({dtype})"
    raise ProblemError(f"{definition.name}: input {name} has the dtype {spec.dtype}, which kopt cannot draw")


def _scalar(name: str, workload: WorkloadEntry, varying: Mapping[str, int]) -> str:
    if name in varying:
        return name
    source = workload.inputs.get(name)
    if source is None or source.value is None:
        raise ProblemError(f"workload {workload.uuid} gives no value to input {name}")
    return repr(source.value)


def _shape(axes: Sequence[str], definition: Definition) -> str:
    """Write the shape of an output from the shapes of the inputs."""
    return _tuple([_size(axis, definition) for axis in axes])


def _size(name: str, definition: Definition) -> str:
    for tensor, spec in definition.inputs.items():
        if spec.shape and name in spec.shape:
            return f"{tensor}.shape[{spec.shape.index(name)}]"
    axis = definition.axes[name]
    if isinstance(axis, Constant):
        return str(axis.value)
    if isinstance(axis, Variable):
        raise ProblemError(f"the axis {name} of an output is in no input's shape")
    tree = ast.parse(axis.expression, mode="eval")
    return f"({ast.unparse(_Sized(definition).visit(tree))})".replace(" / ", " // ")


class _Sized(ast.NodeTransformer):
    """Replace names of axes by sizes of inputs."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    def visit_Name(self, node: ast.Name) -> Any:
        return ast.parse(_size(node.id, self._definition), mode="eval").body


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _dtype(name: str, torch: str) -> str:
    return f"{torch}.{name}"


def _is_custom(workload: WorkloadEntry) -> bool:
    return any(source.type == "custom" for source in workload.inputs.values())


def _names_in(text: str) -> set[str]:
    """Return the names that an expression reads; a name that nothing has where it is no expression."""
    try:
        return {node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    except SyntaxError:
        return {text}


def _is_formula(text: str, names: set[str]) -> bool:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    kinds = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Name, ast.Constant, ast.Load)
    return _names_in(text) <= names and all(isinstance(node, kinds) for node in ast.walk(tree))


def _reads_values(test: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ON_VALUES
        for node in ast.walk(test)
    )
