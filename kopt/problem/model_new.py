"""Make an entry point for KernelBench's `ModelNew`: a module with the parameters of the reference's `Model`.

KernelBench makes both models from one random seed and so with equal parameters.  kopt passes the parameters of `Model`
to a kernel; the entry point puts them into a `ModelNew` that is made without values.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.signature import Signature
from kopt.problem.source import defined, parsed

NAME = "ModelNew"


def has_model_new(source: str) -> bool:
    """Return whether a kernel's source has a `ModelNew` and no entry point of its own."""
    names = defined(parsed(source, "the kernel"))
    return NAME in names and Kernel(source="").entry not in names


def check_kernel(source: str, name: str) -> None:
    """Refuse the source of a kernel that cannot be called.

    Raises:
        ProblemError: it defines neither an entry point nor a `ModelNew`.
    """
    entry = Kernel(source="").entry
    if not {entry, NAME} & defined(parsed(source, f"{name}: the kernel")):
        raise ProblemError(f"{name}: the kernel defines neither {entry} nor {NAME}")


def with_entry(source: str, reference: str, signature: Signature, name: str) -> str:
    """Return the source of a `ModelNew` with a `kernel_function` below it.

    Runs the source: call it in the cage.

    Args:
        source: the source that defines `ModelNew`.
        reference: source of the reference, whose `get_init_inputs` says how both models are made.
        signature: inputs and parameters of the reference.
        name: name of the problem, for messages.

    Raises:
        ProblemError: the source does not run, or its parameters are not those of `Model`.
    """
    from kopt.device.reference.rejection import Rejected
    from kopt.device.reference.trial import module_shapes  # here, because it imports torch

    arguments = _init_arguments(reference, name)
    own = [parameter.name for parameter in signature.parameters]
    inputs = [spec.name for spec in signature.inputs]
    if any(not name.isidentifier() for name in inputs) or signature.values:
        raise ProblemError(f"{name}: {NAME} is called with tensors alone; write a kernel_function that calls it")
    text = _entry(source, arguments, inputs, dict(zip(own, own, strict=True)))
    try:
        made = module_shapes(text, NAME, _values(reference, arguments))
    except Rejected as error:
        raise ProblemError(f"{name}: {NAME} cannot be made: {' '.join(error.reason.split())}") from error
    wanted = {parameter.name: parameter.shape for parameter in signature.parameters}
    if set(made) != set(wanted):
        if [shape for _, shape in made.items()] != [shape for _, shape in wanted.items()]:
            raise ProblemError(
                f"{name}: {NAME} has the parameters {', '.join(made) or 'none'}, Model has "
                f"{', '.join(wanted) or 'none'}: give them the same names, or the same shapes in the same order"
            )
        text = _entry(source, arguments, inputs, dict(zip(made, wanted, strict=True)))
    return text


def _init_arguments(reference: str, name: str) -> list[ast.expr]:
    """Return the expressions in the list that `get_init_inputs` returns."""
    function = next(
        node
        for node in ast.parse(reference).body
        if isinstance(node, ast.FunctionDef) and node.name == "get_init_inputs"
    )
    value = function.body[-1].value if isinstance(function.body[-1], ast.Return) else None
    if not isinstance(value, ast.List | ast.Tuple) or any(
        not isinstance(node, ast.Return | ast.Expr) for node in function.body
    ):
        raise ProblemError(f"{name}: get_init_inputs must return a list written out, so that {NAME} is made like Model")
    return value.elts


def _entry(source: str, arguments: Sequence[ast.expr], inputs: Sequence[str], parameters: dict[str, str]) -> str:
    """Return the source with an entry point; `parameters` maps names of `ModelNew` to those of `Model`."""
    constants = {node.id for value in arguments for node in ast.walk(value) if isinstance(node, ast.Name)}
    words = [*inputs, *(value.replace(".", "_") for value in parameters.values()), *sorted(constants)]
    made = f"{NAME}({', '.join(map(ast.unparse, arguments))})"
    lines = [f"    model = {made}"]
    if parameters:
        state = ", ".join(f'"{new}": {own.replace(".", "_")}' for new, own in parameters.items())
        lines = [
            '    with _torch.device("meta"):',
            f"        model = {made}.requires_grad_(False)",
            f"    model.load_state_dict({{{state}}}, assign=True)",
        ]
    return "\n".join(
        [
            source.rstrip(), "", "", "import torch as _torch", "", "",
            f"def kernel_function({', '.join(dict.fromkeys(words))}):",
            f'    """Call {NAME} with the parameters of the reference."""', *lines,
            f"    return model({', '.join(inputs)})", "",
        ]
    )  # fmt: skip


def _values(reference: str, arguments: Sequence[ast.expr]) -> list[object]:
    """Return the values of the arguments; runs the reference."""
    namespace: dict[str, object] = {"__name__": "kopt_reference"}
    exec(compile(reference, "problem.py", "exec"), namespace)
    return [eval(ast.unparse(value), namespace) for value in arguments]
