"""Find the least share of each input that any right kernel must read, by following a reference's operations backwards.

An element is needed where an operation that reads all of its inputs makes an element that is needed.  Tables that are
looked up, operations that choose by position, and operations that are not known ask for nothing: the share is a lower
bound.  Algebra can make it smaller still, which `kopt.device.facts.influence` looks for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod

import torch

from kopt.device.facts.eager_ops import (
    MOVES_ONLY,
    ONE_KERNEL,
    PER_OUTPUT,
    REDUCTIONS,
    Node,
    base_name,
)  # fmt: skip
from kopt.device.reference.layout import extent
from kopt.device.reference.tree import tensors_of

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "addbmm"}
"""Matrix products: every element of both operands takes part in a full row or column of the product."""
WHOLE = {
    "convolution",
    "_cdist_forward",
    "sort",
    "topk",
    "_convolution",
    "argsort",
    "kthvalue",
    "median",
    "outer",
    "ger",
}
"""Further operations whose outputs depend on all elements of the inputs; strides wider than the kernel apart."""
LOOKUPS = {"index_select": 0, "gather": 0, "index": 0, "embedding": 0, "_embedding_bag": 0, "take": 0}
"""Operations that look elements up in a table, with the position of the table among the tensors."""
PARTIAL = {"masked_fill", "masked_fill_", "index_put", "index_put_", "scatter", "scatter_", "one_hot",
           "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "multilabel_margin_loss_forward",
           "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "scalar_tensor"}  # fmt: skip
"""Operations that leave elements of some input out: by position, by mask or by index."""

SCATTERED = {"index_add", "index_reduce", "index_fill", "index_copy", "scatter_add", "scatter_reduce", "put",
             "masked_scatter", "_index_put_impl"}  # fmt: skip
"""Operations that write to elements of which an index or a mask says where they are."""

_Box = tuple[tuple[int, int, int], ...]
"""A view of a storage: stride, first and last coordinate of every dimension, widest stride first."""


def needed_shares(
    nodes: Sequence[Node], outputs: Sequence[torch.Tensor], inputs: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """Return, by name, the least share of each input's elements that any right kernel reads.

    Args:
        nodes: the operations of the reference, in order, on meta tensors.
        outputs: tensors that the reference returns or changes.
        inputs: tensors that the reference is given, parameters among them.
    """
    producers = {storage_of(tensor): base_name(node.func) for node in nodes for tensor in node.written}
    needed: dict[int, dict[_Box, float]] = defaultdict(dict)
    read: dict[int, dict[_Box, float]] = defaultdict(dict)
    for tensor in outputs:
        _need(needed, tensor, 1.0)
    for node in reversed(nodes):
        share = max((_share(needed, tensor) for tensor in node.written), default=0.0)
        for tensor in changed_by(node):
            _forget(read, tensor, _written_most(node, tensor))  # later reads do not see what the input held there
        if share > 0:
            for tensor, part in _parts(node, producers):
                _need(needed, tensor, share * part)
                _need(read, tensor, share * part)
    return {name: _share(read, tensor) for name, tensor in inputs.items()}


def written_shares(nodes: Sequence[Node], inputs: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return, by name, the least share of each input's elements that any right kernel writes.

    Where indices say which elements are written, that is as many as there are values; none where values are summed up,
    since one element may get them all.
    """
    written: dict[int, dict[_Box, float]] = defaultdict(dict)
    for node in nodes:
        for tensor in changed_by(node):
            _need(written, tensor, _written_part(node, tensor))
    return {name: _share(written, tensor) for name, tensor in inputs.items()}


def _written_part(node: Node, tensor: torch.Tensor) -> float:
    """Return the share of a tensor that an operation in place writes, at least."""
    name = base_name(node.func).removesuffix("_")
    if name in _VALUES and not _adds_up(node):
        found = tensors_of(node.args[_VALUES[name] :])
        return min(found[0].numel() / max(tensor.numel(), 1), 1.0) if found else 0.0
    if name in ("tril", "triu"):
        return 1.0 - _triangle(node)
    return 0.0 if name in PARTIAL | SCATTERED else 1.0


def _written_most(node: Node, tensor: torch.Tensor) -> float:
    """Return the share of a tensor whose old values an operation in place overwrites, at most."""
    if _adds_up(node):
        return 0.0
    known = base_name(node.func).removesuffix("_") in _VALUES
    return (known and _written_part(node, tensor)) or 1.0


_VALUES = {"index_copy": 3, "scatter": 3, "index_put": 2, "_index_put_impl": 2}
"""Operations that write values by index, with the position of the values among the arguments."""


def _adds_up(node: Node) -> bool:
    """Return whether an operation combines values with what is there, at places that an index gives."""
    name = base_name(node.func).removesuffix("_")
    if name in ("index_add", "index_reduce", "scatter_add", "scatter_reduce"):
        return True
    return name in _VALUES and ("reduce" in node.kwargs or any(a is True for a in node.args[_VALUES[name] + 1 :]))


def changed_by(node: Node) -> list[torch.Tensor]:
    """Return the tensors that an operation writes to in place."""
    arguments = node.func._schema.arguments
    values = [*node.args, *(node.kwargs.get(argument.name) for argument in arguments[len(node.args) :])]
    return [
        tensor
        for argument, value in zip(arguments, values, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tensors_of(value)
    ]


def _parts(node: Node, producers: Mapping[int, str]) -> list[tuple[torch.Tensor, float]]:
    """Return the tensors that an operation reads, each with the share of it that the operation needs."""
    name = base_name(node.func)
    written = {storage_of(tensor) for tensor in node.written}
    read = [t for t in node.read if not (name.endswith("_") and storage_of(t) in written and name in MOVES_ONLY)]
    if name.endswith("_") and name.removesuffix("_") in SCATTERED:
        changed = {storage_of(tensor) for tensor in changed_by(node)}
        read = [t for t in read if storage_of(t) not in changed]  # elements that no index names stay as they are
    if name in ("zero_", "fill_", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full",
                "empty_like", "rand_like", "randn_like"):  # fmt: skip
        return []
    if name in LOOKUPS:
        return [(t, 0.0 if place == LOOKUPS[name] else 1.0) for place, t in enumerate(read)]
    if name in ("tril", "triu", "tril_", "triu_"):
        return [(t, _triangle(node)) for t in read]
    if name == "where" or name.startswith("nll_loss"):
        chosen = 0 if name == "where" else 1  # the condition, or the label; another operand may be needed in part
        normalised = name != "where" and producers.get(storage_of(read[0])) == "_log_softmax"
        return [(t, float(place == chosen or (place == 0 and normalised))) for place, t in enumerate(read)]
    if name in PARTIAL or "grid_sampl" in name:
        return []
    if name == "convolution" or "_pool" in name:
        return [(t, _window(node, t) if place == 0 else 1.0) for place, t in enumerate(read)]
    known = torch.Tag.pointwise in node.func.tags or any(
        name in names or name.rstrip("_") in names
        for names in (MOVES_ONLY, REDUCTIONS, PER_OUTPUT, ONE_KERNEL, PRODUCTS, WHOLE)
    )
    return [(t, 1.0) for t in read] if known else []


def _triangle(node: Node) -> float:
    """Return the share of a matrix that `tril` or `triu` keeps, at least."""
    rows, columns = node.read[0].shape[-2:]
    diagonal = int(node.args[1]) if len(node.args) > 1 else 0
    offsets = torch.arange(rows, device="cpu")
    kept = (offsets + diagonal + 1).clamp(0, columns)
    if base_name(node.func).startswith("triu"):
        kept = columns - (offsets + diagonal).clamp(0, columns)
    return float(kept.sum()) / max(rows * columns, 1)


def _window(node: Node, tensor: torch.Tensor) -> float:
    """Return the share of an input that the windows of a convolution or pooling cover."""
    name, args = base_name(node.func), node.args
    if name.startswith(("adaptive", "_adaptive")) or (name == "convolution" and args[6]):
        return 1.0
    if name == "convolution":
        sizes, rest = list(node.read[1].shape[2:]), args[3:6]
    else:
        sizes, rest = _numbers(args[1:2], tensor.dim() - 2), args[2:4] if "avg" in name else args[2:5]
    strides = _numbers(rest[0:1], len(sizes)) or sizes
    pads, gaps = (
        _numbers(rest[1:2], len(sizes)) or [0] * len(sizes),
        _numbers(rest[2:3], len(sizes)) or [1] * len(sizes),
    )
    share = 1.0
    lengths, made = tensor.shape[-len(sizes) :], node.written[0].shape[-len(sizes) :]
    for size, stride, pad, gap, length, count in zip(sizes, strides, pads, gaps, lengths, made, strict=True):
        starts = torch.arange(count, device="cpu") * stride - pad
        reached = (starts[:, None] + torch.arange(size, device="cpu") * gap).unique()
        share *= int(((reached >= 0) & (reached < length)).sum()) / max(length, 1)
    return share


def _numbers(argument: Sequence[object], count: int) -> list[int]:
    value = argument[0] if argument else ()
    if not isinstance(value, int | list | tuple) or isinstance(value, bool) or value in ([], ()):
        return []
    numbers = [int(n) for n in value] if isinstance(value, list | tuple) else [value]
    return numbers * count if len(numbers) == 1 else numbers


def storage_of(tensor: torch.Tensor) -> int:
    """Return the identity of a tensor's storage, equal for tensors that share memory."""
    return int(tensor.untyped_storage()._cdata)


def _need(needed: dict[int, dict[_Box, float]], tensor: torch.Tensor, share: float) -> None:
    boxes = needed[storage_of(tensor)]
    box = _box(tensor)
    boxes[box] = max(boxes.get(box, 0.0), share)


def _forget(needed: dict[int, dict[_Box, float]], tensor: torch.Tensor, part: float) -> None:
    """Take back what is needed of some share of the elements of a view."""
    boxes, box = needed.get(storage_of(tensor), {}), _box(tensor)
    for other, share in boxes.items():
        if not _apart(box, other):
            boxes[other] = share * max(0.0, 1.0 - part * _volume(box) / _volume(other))


def distinct_share(tensor: torch.Tensor) -> float:
    """Return the share of a tensor's elements that have memory of their own: views may repeat elements."""
    if not tensor.numel():
        return 1.0
    moving = prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return min(moving, extent(tensor.shape, tensor.stride())) / tensor.numel()


def without_repetitions(tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the names of the largest tensors that have no element in common."""
    chosen: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(tensors.items(), key=lambda item: -_volume(_box(item[1]))):
        same = [other for other in chosen.values() if storage_of(other) == storage_of(tensor)]
        if all(_apart(_box(tensor), _box(other)) for other in same):
            chosen[name] = tensor
    return set(chosen)


def _box(tensor: torch.Tensor) -> _Box:
    """Return the coordinates that a view covers; dimensions of stride 0 are one element."""
    dims = sorted(((st, size) for st, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1 and st),
                  reverse=True)  # fmt: skip
    merged: list[list[int]] = []
    for stride, size in dims:
        if merged and merged[-1][0] == stride * size:
            merged[-1] = [stride, merged[-1][1] * size]
        else:
            merged.append([stride, size])
    box, rest = [], int(tensor.storage_offset())
    for stride, size in merged:
        first, rest = divmod(rest, stride)
        box.append((stride, first, first + size))
    return tuple(box) if not rest else (*box, (0, rest, rest + 1))


def _volume(box: _Box) -> int:
    return prod(last - first for _, first, last in box)


def _apart(one: _Box, other: _Box) -> bool:
    """Return whether two views of the same strides have no element in common."""
    if [stride for stride, _, _ in one] != [stride for stride, _, _ in other]:
        return False
    return any(a[2] <= b[1] or b[2] <= a[1] for a, b in zip(one, other, strict=True))


def _share(needed: Mapping[int, dict[_Box, float]], tensor: torch.Tensor) -> float:
    """Return the share of a tensor's elements that is needed: of its views, the largest ones that do not overlap."""
    if not tensor.numel():
        return 0.0
    boxes = sorted(needed.get(storage_of(tensor), {}).items(), key=lambda item: -_volume(item[0]) * item[1])
    chosen: list[_Box] = []
    total = 0.0
    for box, share in boxes[:64]:
        if all(_apart(box, other) for other in chosen):
            chosen.append(box)
            total += _volume(box) * share
    return min(total / _volume(_box(tensor)), 1.0)


def necessary_products(
    nodes: Sequence[Node], outputs: Sequence[torch.Tensor], whole: Sequence[torch.Tensor]
) -> dict[int, int]:
    """Return the matrix products that no algebra saves, as far as that can be shown, with their operations.

    A product counts where both operands are whole inputs (cast or moved at most) or results of other such products
    behind a function that is not linear, and where its elements are returned one by one, behind pointwise functions.

    Args:
        nodes: the operations of the reference, in order.
        outputs: tensors that the reference returns.
        whole: inputs without structure: every element of them varies and matters.

    Returns:
        Floating-point operations by the product's place among the operations.
    """
    from torch.utils.flop_counter import flop_registry  # here, because it imports Triton

    dense = {storage_of(tensor) for tensor in whole}
    linear: set[int] = set()  # storages of products that only linear functions followed
    products: dict[int, int] = {}
    for place, node in enumerate(nodes):
        name = base_name(node.func)
        if name in PRODUCTS and name not in ("mv", "addmv", "dot"):
            operands = [t for t in node.read if t.dim() >= 2][-2:]
            if len(operands) == 2 and all(storage_of(t) in dense and _volume(_box(t)) == t.numel() for t in operands):
                formula = flop_registry.get(node.func.overloadpacket)
                flops = int(formula(*node.args, **node.kwargs, out_val=node.written[0])) if formula else 0
                products[place] = flops
                linear |= {storage_of(t) for t in node.written}
        elif name in ("_to_copy", "clone"):
            for group in (dense, linear):
                if all(storage_of(t) in group for t in node.read):
                    group |= {storage_of(t) for t in node.written}
        elif all(storage_of(t) in dense | linear for t in _full_size(node)):
            group = dense if _is_curved(node) else linear if name.rstrip("_") in ("add", "sub", "mul", "div") else set()
            group |= {storage_of(t) for t in node.written}
    kept = _kept_elements(nodes, outputs)
    return {place: flops for place, flops in products.items() if storage_of(nodes[place].written[0]) in kept}


_CURVED = {"relu", "gelu", "silu", "sigmoid", "tanh", "exp", "elu", "mish", "softplus", "leaky_relu", "hardtanh"}
"""Pointwise functions that are not linear: a sum behind them cannot be moved before them."""
_KEEPS = _CURVED | {"add", "sub", "mul", "div", "_to_copy", "clone", "_softmax", "_log_softmax"}
"""Functions of whose operands every element matters where every element of the result does."""


def _full_size(node: Node) -> list[torch.Tensor]:
    """Return the operands that are as large as the result."""
    size = max(tensor.numel() for tensor in node.written)
    return [tensor for tensor in node.read if tensor.numel() == size]


def _is_curved(node: Node) -> bool:
    name = base_name(node.func).rstrip("_")
    return name in _CURVED or (name == "mul" and len({storage_of(tensor) for tensor in _full_size(node)}) > 1)


def _kept_elements(nodes: Sequence[Node], outputs: Sequence[torch.Tensor]) -> set[int]:
    """Return the storages whose elements all matter one by one.

    Those are the returned ones, and what becomes such a one by `_KEEPS`, or by a product behind a curved function.
    """
    kept = {storage_of(tensor) for tensor in outputs if _volume(_box(tensor)) == tensor.numel()}
    multiplied: set[int] = set()
    for node in reversed(nodes):
        name = base_name(node.func).rstrip("_")
        written = {storage_of(tensor) for tensor in node.written}
        if written & kept and name in PRODUCTS:
            multiplied |= {storage_of(tensor) for tensor in node.read}
        if (written & kept and name in _KEEPS) or (written & multiplied and _is_curved(node)):
            kept |= {storage_of(tensor) for tensor in _full_size(node)}
    return kept


def changed_tensors(nodes: Sequence[Node], inputs: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of inputs that an operation writes to."""
    written = {storage_of(tensor) for node in nodes for tensor in changed_by(node)}
    return [name for name, tensor in inputs.items() if storage_of(tensor) in written]
