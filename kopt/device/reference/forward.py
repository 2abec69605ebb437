"""Call a reference's model on the device where its tensors are, and say in one line why that fails.

Three things that work on a GPU are made to work elsewhere too:

- devices named in the source (`kopt.device.reference.elsewhere.anywhere`);
- an operation that torch's CPU library lacks in a low precision (`avg_pool3d` in bfloat16) is computed in float32, and
  its results are rounded, as a GPU does;
- a forward pass that differentiates runs with gradients recorded, though it is called without.

`Any`: models take and return anything.
"""

from __future__ import annotations

import ast
import traceback
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.elsewhere.anywhere import anywhere, without_values
from kopt.device.reference.file_name import base_name, has_lines, is_reference
from kopt.device.reference.given import given_in_words
from kopt.device.reference.layout import copied_inputs, same_bits
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError

LONGEST = 220
"""Most characters of a reason."""

LONGEST_LINE = 100
"""Most characters of a line of the reference in a reason."""

_LOW = (torch.bfloat16, torch.float16)

_READS_VALUES = (
    "item() cannot be called on meta", "copy out of meta tensor", "with Meta tensors", "convert meta device type",
    "torch.nonzero() raises unimplemented", "data-dependent", "meta tensor; no data",
)  # fmt: skip
"""Parts of torch's messages where a tensor without values is asked for one: it has no error class for that."""

NEEDS_VALUES = (
    "it reads values of tensors (.item(), float(), .numpy(), an `if` on a tensor, a boolean mask, nonzero, unique, "
    "bincount), so its sizes are not known; write it without, e.g. with torch.where, scatter_add_"
)
GIVES_NUMBER = (
    "it returns a number of Python's, or an array, in place of a tensor: return the tensor itself (`return x.sum()`, "
    "without float(), .item(), .tolist() or .numpy())"
)
_NUMBERS = frozenset({"float", "int", "bool", "complex", "item", "tolist", "numpy"})
"""Functions and methods that make a number or an array of a tensor."""


def call(model: torch.nn.Module, inputs: Sequence[Any]) -> Any:
    """Return `model(*inputs)` without a graph for gradients; an input that the model changes is changed.

    Raises:
        ProblemError: the model raises; one line without the name of the problem.
    """
    device = device_of(model, inputs)
    try:
        with anywhere(device):
            output = _called(model, inputs)
        return tree_map(without_values, output) if device.type == "meta" else output
    except ProblemError:
        raise
    except (Exception, SystemExit) as error:
        raise ProblemError(reason(error, given_in_words(model, inputs))) from error


def device_of(model: torch.nn.Module, inputs: Sequence[Any]) -> torch.device:
    """Return the device of the model's and the inputs' tensors; torch's default one where there are none."""
    tensors = [*model.parameters(), *model.buffers(), *tensors_of(list(inputs))]
    return tensors[0].device if tensors else torch.get_default_device()


def _called(model: torch.nn.Module, inputs: Sequence[Any]) -> Any:
    tensors = [*tensors_of(list(inputs)), *model.parameters()]
    rounds = any(tensor.dtype in _LOW and tensor.device.type == "cpu" for tensor in tensors)
    before = copied_inputs(inputs) if rounds else ()
    versions = [tensor._version for tensor in tensors]
    try:
        with torch.no_grad():
            return model(*inputs)
    except RuntimeError as error:
        if "does not require grad" in str(error):
            with torch.enable_grad():
                return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, model(*inputs))
        is_unchanged = versions == [tensor._version for tensor in tensors]
        if device_of(model, inputs).type != "cpu" or not (rounds or is_unchanged):
            raise
        try:
            if rounds:
                _restore(inputs, before)
            with torch.no_grad(), LackingInFloat32():  # type: ignore[no-untyped-call]  # torch does not type it
                return model(*inputs)
        except RuntimeError:
            raise error from None


class LackingInFloat32(DispatchMode):
    """Compute an operation that raises in a low precision in float32, and round its results.

    One whose operands have several dtypes is left alone.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            tensors = tensors_of((args, kwargs))
            low = next((tensor.dtype for tensor in tensors if tensor.dtype in _LOW), None)
            if low is None or len({tensor.dtype for tensor in tensors if tensor.is_floating_point()}) > 1:
                raise  # an operation that takes no two dtypes takes them on no device
            wide: dict[int, torch.Tensor] = {id(t): t.float() for t in tensors if t.dtype in _LOW}
            wide_args, wide_kwargs = tree_map(lambda leaf: wide.get(id(leaf), leaf), (args, kwargs))
            wanted = kwargs.get("dtype")
            if wanted in _LOW:
                wide_kwargs["dtype"] = torch.float32
            results = func(*wide_args, **wide_kwargs)
            changed = {id(value): tensor for tensor in tensors if (value := wide.get(id(tensor))) is not None}
            if func._schema.is_mutable:
                for value in wide.values():
                    changed[id(value)].copy_(value)

            def rounded(leaf: Any) -> Any:
                if not isinstance(leaf, torch.Tensor):
                    return leaf
                if id(leaf) in changed:
                    return changed[id(leaf)]
                return leaf.to(low) if leaf.dtype is torch.float32 else leaf

            return tree_map(rounded, results)


def reason(error: BaseException, given: str = "") -> str:
    """Describe in one line what a reference raised, and in which line of its file; no table of torch's.

    Args:
        error: what it raised.
        given: with which tensors it was called, in words; empty where it was not called.
    """
    file = base_name()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_reference(frame.filename)]
    where = f"{file}, line {frames[-1].lineno}" if frames and has_lines(file) else file
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"{where} imports {package}, which is not installed here: install it, or write the reference without it"
    text = " ".join(str(error).strip().split("\n\n")[0].split())
    line = " ".join(((frames[-1].line if frames else "") or "").split())
    code = f", `{line[:LONGEST_LINE]}`" if line and not line.startswith("raise ") else ""
    if any(part in text for part in _READS_VALUES):
        return f"{where}{code}: {GIVES_NUMBER if _returns_number(line) else NEEDS_VALUES}"
    sentence = text.split(". This could be because")[0].removesuffix(".")
    said = f"{where}{code}{',' if frames else ''} raises {type(error).__name__}{f': {sentence}' if sentence else ''}"
    longest = LONGEST + len(code)
    said = said if len(said) <= longest else f"{said[: longest - 3]}..."
    return f"{said}; given {given}" if given else said


def _returns_number(line: str) -> bool:
    """Return whether a line of code returns what `float()`, `.item()` and their like give."""
    try:
        nodes = list(ast.walk(ast.parse(line.strip())))
    except (SyntaxError, ValueError):
        return False
    values = [node.value for node in nodes if isinstance(node, ast.Return)]
    parts = [part for one in values for part in (one.elts if isinstance(one, ast.Tuple | ast.List) else [one])]
    called = [part.func for part in parts if isinstance(part, ast.Call)]
    return any((one.id if isinstance(one, ast.Name) else getattr(one, "attr", "")) in _NUMBERS for one in called)


def _restore(inputs: Sequence[Any], before: Sequence[Any]) -> None:
    """Undo what a call changed in inputs."""
    for now, then in zip(tensors_of(list(inputs)), tensors_of(list(before)), strict=True):
        if not same_bits(now, then):
            now.copy_(then)
