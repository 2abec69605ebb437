"""Rules by which right kernels are made wrong.

A rule looks at one node of a kernel's syntax tree, and returns what to put in its place; None where it does not apply.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kopt.model.problem import Dtype


class Where(NamedTuple):
    """The place of a node."""

    parents: tuple[ast.AST, ...]
    """Nodes around it, the nearest last."""
    dtype: Dtype
    """The problem's."""
    in_kernel: bool
    """Whether a jitted function holds it."""

    def inside(self, *calls: str) -> ast.Call | None:
        """Return the nearest call of one of these functions around the node."""
        around = (node for node in reversed(self.parents) if isinstance(node, ast.Call))
        return next((node for node in around if ast.unparse(node.func) in calls), None)


Rule = Callable[[ast.AST, Where], ast.AST | None]


def _name(node: ast.AST) -> str:
    """Return the name of the function that a node calls; empty for another node."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _text(node: ast.AST) -> str:
    return f"({ast.unparse(node)})"


def _with(call: ast.Call, **keywords: ast.expr | None) -> ast.Call:
    """Return a copy of a call with keywords set, or removed where None."""
    new = copy.deepcopy(call)
    new.keywords = [item for item in new.keywords if item.arg not in keywords]
    new.keywords += [ast.keyword(name, value) for name, value in keywords.items() if value is not None]
    return new


def _keyword(call: ast.AST | None, name: str) -> ast.expr | None:
    if not isinstance(call, ast.Call):
        return None
    return next((item.value for item in call.keywords if item.arg == name), None)


def _mask_at(call: ast.AST) -> int | None:
    """Return the position of a mask given without its name."""
    place = {"tl.load": 1, "tl.store": 2}.get(_name(call))
    return place if place is not None and len(call.args) > place else None  # type: ignore[attr-defined]


def _unmasked(node: ast.AST, function: str) -> ast.AST | None:
    if _name(node) != function or (_keyword(node, "mask") is None and _mask_at(node) is None):
        return None
    assert isinstance(node, ast.Call)
    new = _with(node, mask=None, other=None)
    new.args = new.args[: 1 if function == "tl.load" else 2]
    return new


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is float


def _is_infinity(node: ast.AST) -> bool:
    return ast.unparse(node) in ("float('-inf')", "-float('inf')")


def _in_address(where: Where) -> bool:
    """Return whether a node is part of an address or a mask."""
    call = where.inside("tl.load", "tl.store", "tl.atomic_add")
    if call is None:
        return False
    chain = (*where.parents, None)
    below = chain[where.parents.index(call) + 1]
    return below is call.args[0] or isinstance(below, ast.keyword) or below is None


def load_unmasked(node: ast.AST, where: Where) -> ast.AST | None:
    """A load reads beyond the edge."""
    return _unmasked(node, "tl.load")


def store_unmasked(node: ast.AST, where: Where) -> ast.AST | None:
    """A store writes beyond the edge."""
    return _unmasked(node, "tl.store")


def bound_too_far(node: ast.AST, where: Where) -> ast.AST | None:
    """`<` becomes `<=`."""
    if where.in_kernel and isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt) and _is_edge(node, where):
        return _expression(f"{_text(node.left)} <= {_text(node.comparators[0])}")
    return None


def bound_too_near(node: ast.AST, where: Where) -> ast.AST | None:
    """`< n` becomes `< n - 1`."""
    if where.in_kernel and isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt) and _is_edge(node, where):
        return _expression(f"{_text(node.left)} < {_text(node.comparators[0])} - 1")
    return None


def _is_edge(node: ast.Compare, where: Where) -> bool:
    """Return whether a comparison is with the size of something, by its name."""
    right = ast.unparse(node.comparators[0])
    sized = re.fullmatch(
        r"[A-Z]{1,2}|n|N|M|n_(elements|cols|rows)|num_tasks|rows|cols|width|total|xnumel|end|classes|size|half", right
    )
    return bool(sized) and not any(isinstance(parent, ast.While | ast.If) for parent in where.parents[-2:])


def other_changed(node: ast.AST, where: Where) -> ast.AST | None:
    """Masked elements that a reduction takes in get another value."""
    other = _keyword(node, "other")
    if _name(node) != "tl.load" or other is None or not _has_reduction(where):
        return None
    assert isinstance(node, ast.Call)
    return _with(node, other=ast.Constant(0.0 if _is_infinity(other) else 1))


def _has_reduction(where: Where) -> bool:
    return bool(re.search(r"tl\.(sum|max|dot|reduce|argmax|cumsum|sort)\(", ast.unparse(where.parents[0])))


def other_missing(node: ast.AST, where: Where) -> ast.AST | None:
    """Masked elements that a reduction takes in are undefined."""
    if _name(node) != "tl.load" or _keyword(node, "other") is None or not _has_reduction(where):
        return None
    assert isinstance(node, ast.Call)
    return _with(node, other=None)


def constant_changed(node: ast.AST, where: Where) -> ast.AST | None:
    """A number is larger by a tenth."""
    if not _is_number(node) or isinstance(where.parents[-1], ast.keyword):
        return None
    assert isinstance(node, ast.Constant)
    usual = 1e-3 < abs(node.value) < 1e4 and node.value != 1.0
    return ast.Constant(node.value * 1.1) if usual else None


def minus_infinity_to_zero(node: ast.AST, where: Where) -> ast.AST | None:
    """A maximum starts at zero."""
    start = any(isinstance(parent, ast.Assign) for parent in where.parents[-2:]) or where.inside("tl.full")
    return (
        ast.Constant(0.0)
        if where.in_kernel and _is_infinity(node) and start and not where.inside("tl.load", "tl.where")
        else None
    )


def zero_to_one(node: ast.AST, where: Where) -> ast.AST | None:
    """A sum starts at one."""
    zeros = _name(node) == "tl.zeros" and where.in_kernel
    return _expression(f"{ast.unparse(node)} + 1") if zeros and "int1" not in ast.unparse(node) else None


def eps_dropped(node: ast.AST, where: Where) -> ast.AST | None:
    """The small number under a root or in a divisor is left out."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _is_small(node.right):
        return node.left
    return None


def eps_tenfold(node: ast.AST, where: Where) -> ast.AST | None:
    """The small number under a root or in a divisor is ten times as large."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _is_small(node.right):
        return _expression(f"{_text(node.left)} + {_text(node.right)} * 10")
    return None


def _is_small(node: ast.AST) -> bool:
    return ast.unparse(node) == "eps" or (_is_number(node) and 0 < node.value < 1e-3)  # type: ignore[attr-defined]


def sum_rounded(node: ast.AST, where: Where) -> ast.AST | None:
    """A running sum is kept in bfloat16."""
    if where.dtype is Dtype.BFLOAT16 or not where.in_kernel or not any(isinstance(p, ast.For) for p in where.parents):
        return None
    if (
        isinstance(node, ast.AugAssign)
        and isinstance(node.op, ast.Add)
        and re.search("acc|sum|total", ast.unparse(node.target))
    ):
        target, value = ast.unparse(node.target), ast.unparse(node.value)
        return ast.parse(f"{target} = ({target} + ({value})).to(tl.bfloat16).to(tl.float32)").body[0]
    if isinstance(node, ast.Assign) and _name(node.value) == "tl.dot" and len(node.value.args) > 2:  # type: ignore[attr-defined]
        return ast.parse(f"{ast.unparse(node)}.to(tl.bfloat16).to(tl.float32)").body[0]
    return None


def input_rounded(node: ast.AST, where: Where) -> ast.AST | None:
    """An input is rounded to bfloat16 first."""
    exact = where.dtype in (Dtype.FLOAT32, Dtype.FLOAT64)
    if not exact or _name(node) != "tl.load" or not isinstance(where.parents[-1], ast.Assign):
        return None
    floats = isinstance(_keyword(node, "other"), ast.Constant) and _is_number(_keyword(node, "other"))  # type: ignore[arg-type]
    return _expression(f"{ast.unparse(node)}.to(tl.bfloat16).to(tl.{where.dtype.value})") if floats else None


def cast_to_integer(node: ast.AST, where: Where) -> ast.AST | None:
    """A value goes through an integer."""
    if not isinstance(node, ast.Call) or not ast.unparse(node).endswith(".to(tl.float32)"):
        return None
    assert isinstance(node.func, ast.Attribute)
    return _expression(f"{_text(node.func.value)}.to(tl.int32).to(tl.float32)")


def difference_turned(node: ast.AST, where: Where) -> ast.AST | None:
    """`a - b` becomes `b - a`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and where.in_kernel and not _in_address(where):
        return _expression(f"{_text(node.right)} - {_text(node.left)}")
    return None


def quotient_turned(node: ast.AST, where: Where) -> ast.AST | None:
    """`a / b` becomes `b / a`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and where.in_kernel:
        return _expression(f"{_text(node.right)} / {_text(node.left)}")
    return None


def sum_to_maximum(node: ast.AST, where: Where) -> ast.AST | None:
    """A sum becomes a maximum."""
    if _name(node) != "tl.sum":
        return None
    assert isinstance(node, ast.Call)
    new = copy.deepcopy(node)
    new.func = _expression("tl.max")
    if len(new.args) == 1 and not new.keywords:
        new.args.append(ast.Constant(0)) if "keep" not in ast.unparse(new) else None
    return new


def maximum_to_minimum(node: ast.AST, where: Where) -> ast.AST | None:
    """A maximum becomes a minimum."""
    other = {"tl.max": "tl.min", "tl.maximum": "tl.minimum", "tl.argmax": "tl.argmin", "tl.minimum": "tl.maximum"}
    if _name(node) not in other:
        return None
    assert isinstance(node, ast.Call)
    new = copy.deepcopy(node)
    new.func = _expression(other[_name(node)])
    return new


def last_tile_left_out(node: ast.AST, where: Where) -> ast.AST | None:
    """A loop ends one step early."""
    if not where.in_kernel or not isinstance(node, ast.For) or _name(node.iter) not in ("range", "tl.range"):
        return None
    new = copy.deepcopy(node)
    assert isinstance(new.iter, ast.Call)
    arguments = new.iter.args
    place = 0 if len(arguments) == 1 else 1
    step = ast.unparse(arguments[2]) if len(arguments) > 2 else "1"
    arguments[place] = _expression(f"{_text(arguments[place])} - ({step})")
    return new


def first_tile_left_out(node: ast.AST, where: Where) -> ast.AST | None:
    """A loop begins one step late."""
    if not where.in_kernel or not isinstance(node, ast.For) or _name(node.iter) not in ("range", "tl.range"):
        return None
    new = copy.deepcopy(node)
    assert isinstance(new.iter, ast.Call)
    arguments = new.iter.args
    if len(arguments) == 1:
        arguments.insert(0, ast.Constant(0))
    step = ast.unparse(arguments[2]) if len(arguments) > 2 else "1"
    arguments[0] = _expression(f"{_text(arguments[0])} + ({step})")
    return new


def rounded_down(node: ast.AST, where: Where) -> ast.AST | None:
    """A count of tiles leaves out the ragged one."""
    if _name(node) in ("triton.cdiv", "tl.cdiv"):
        return _expression(f"({ast.unparse(node.args[0])}) // ({ast.unparse(node.args[1])})")  # type: ignore[attr-defined]
    return None


def stride_changed(node: ast.AST, where: Where) -> ast.AST | None:
    """A step of an address is one too large."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _in_address(where):
        return _expression(f"{_text(node.left)} * ({ast.unparse(node.right)} + 1)")
    return None


def stride_dropped(node: ast.AST, where: Where) -> ast.AST | None:
    """A product with a stride is left out."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _in_address(where):
        return node.left
    return None


def axis_changed(node: ast.AST, where: Where) -> ast.AST | None:
    """A reduction runs along the other axis."""
    if _name(node) not in ("tl.sum", "tl.max", "tl.cumsum", "tl.associative_scan", "tl.reduce"):
        return None
    assert isinstance(node, ast.Call)
    new = copy.deepcopy(node)
    places = [*(item for item in new.args[1:2]), *(item.value for item in new.keywords if item.arg == "axis")]
    axis = next((item for item in places if isinstance(item, ast.Constant)), None)
    if axis is None or not re.search(r"\[:, None\]", ast.unparse(where.parents[0])):
        return None
    axis.value = 1 - axis.value  # type: ignore[operator]
    return new


def barrier_removed(node: ast.AST, where: Where) -> ast.AST | None:
    """Threads do not wait for each other."""
    return ast.Pass() if isinstance(node, ast.Expr) and _name(node.value) == "tl.debug_barrier" else None


def lock_removed(node: ast.AST, where: Where) -> ast.AST | None:
    """A lock is not waited for."""
    return ast.Pass() if isinstance(node, ast.While) and "atomic_cas" in ast.unparse(node.test) else None


def unlock_removed(node: ast.AST, where: Where) -> ast.AST | None:
    """A lock is never given back."""
    released = isinstance(node, ast.Expr) and _name(node.value) == "tl.atomic_xchg"
    return ast.Pass() if released and ast.unparse(node).endswith("0)") else None


def atomic_to_store(node: ast.AST, where: Where) -> ast.AST | None:
    """Programs overwrite instead of adding."""
    if _name(node) != "tl.atomic_add" or not isinstance(where.parents[-1], ast.Expr):
        return None
    assert isinstance(node, ast.Call)
    new = _with(node, sem=None, scope=None)
    new.func = _expression("tl.store")
    return new


def factor_dropped(node: ast.AST, where: Where) -> ast.AST | None:
    """A scale is left out."""
    named = r"scale|alpha|rstd|factor|safe|keep|inv\w*|weight|rows\[:, None\]|columns\[None, :\]|b_r\[:, None\]|delta"
    product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and not _in_address(where)
    return node.left if product and re.fullmatch(named, ast.unparse(node.right)) else None  # type: ignore[attr-defined]


def store_removed(node: ast.AST, where: Where) -> ast.AST | None:
    """One of several stores is left out."""
    several = ast.unparse(where.parents[0]).count("tl.store(") > 1
    return ast.Pass() if several and isinstance(node, ast.Expr) and _name(node.value) == "tl.store" else None


def comparison_off_by_one(node: ast.AST, where: Where) -> ast.AST | None:
    """`>=` becomes `>`, `<=` becomes `<`, `==` becomes `>=`."""
    other = {ast.GtE: ">", ast.LtE: "<", ast.Eq: ">="}
    if (
        where.in_kernel
        and isinstance(node, ast.Compare)
        and type(node.ops[0]) in other
        and "atomic" not in ast.unparse(node)
    ):
        if isinstance(node.comparators[0], ast.Constant) and isinstance(node.comparators[0].value, str):
            return None
        return _expression(f"{_text(node.left)} {other[type(node.ops[0])]} {_text(node.comparators[0])}")
    return None


def comparison_inverted(node: ast.AST, where: Where) -> ast.AST | None:
    """`>=` becomes `<=` and so on."""
    other = {ast.GtE: "<=", ast.LtE: ">=", ast.Gt: "<"}
    if where.in_kernel and isinstance(node, ast.Compare) and type(node.ops[0]) in other:
        return _expression(f"{_text(node.left)} {other[type(node.ops[0])]} {_text(node.comparators[0])}")
    return None


def where_turned(node: ast.AST, where: Where) -> ast.AST | None:
    """`where(c, a, b)` becomes `where(c, b, a)`."""
    if _name(node) != "tl.where":
        return None
    assert isinstance(node, ast.Call)
    condition, yes, no = map(ast.unparse, node.args)
    return _expression(f"tl.where({condition}, {no}, {yes})")


def other_program(node: ast.AST, where: Where) -> ast.AST | None:
    """A program takes its number from another axis of the grid."""
    if _name(node) != "tl.program_id":
        return None
    axis = (node.args or [item.value for item in node.keywords])[0]  # type: ignore[attr-defined]
    return _expression(f"tl.program_id({(int(ast.unparse(axis)) + 1) % 3})")


def neighbour_read(node: ast.AST, where: Where) -> ast.AST | None:
    """A load reads the next element."""
    if _name(node) != "tl.load" or "block" in ast.unparse(node):
        return None
    assert isinstance(node, ast.Call)
    new = copy.deepcopy(node)
    new.args[0] = _expression(f"{_text(new.args[0])} + 1")
    return new


def other_exponential(node: ast.AST, where: Where) -> ast.AST | None:
    """The exponential has another base."""
    other = {
        "tl.exp": "tl.exp2",
        "tl.math.exp2": "tl.exp",
        "tl.log": "tl.log2",
        "tl.rsqrt": "tl.sqrt",
        "tl.sqrt": "tl.rsqrt",
    }
    if _name(node) not in other:
        return None
    new = copy.deepcopy(node)
    new.func = _expression(other[_name(node)])  # type: ignore[attr-defined]
    return new


def absolute_dropped(node: ast.AST, where: Where) -> ast.AST | None:
    """A magnitude keeps its sign."""
    return node.args[0] if _name(node) == "tl.abs" else None  # type: ignore[attr-defined]


def in_tf32(node: ast.AST, where: Where) -> ast.AST | None:
    """A product of float32 is computed in TF32."""
    precision = _keyword(node, "input_precision")
    if _name(node) != "tl.dot" or precision is None or where.dtype is not Dtype.FLOAT32:
        return None
    assert isinstance(node, ast.Call)
    return _with(node, input_precision=ast.Constant("tf32"))


def sum_overwritten(node: ast.AST, where: Where) -> ast.AST | None:
    """The last term of a sum replaces the sum."""
    in_loop = any(isinstance(parent, ast.For) for parent in where.parents)
    if where.in_kernel and in_loop and isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        if re.search("ptr|start|at$|before|x_block", ast.unparse(node.target)):
            return None
        return ast.parse(f"{ast.unparse(node.target)} = {ast.unparse(node.value)}").body[0]
    return None


RARE: tuple[Rule, ...] = (
    barrier_removed, lock_removed, unlock_removed, atomic_to_store, eps_dropped, in_tf32, minus_infinity_to_zero,
    absolute_dropped, axis_changed,
)  # fmt: skip
"""Rules that apply to few kernels, and are always used there."""


RULES: Sequence[Rule] = (
    *RARE, load_unmasked, store_unmasked, bound_too_far, bound_too_near, other_changed, other_missing, constant_changed,
    zero_to_one, eps_tenfold, sum_rounded, input_rounded, cast_to_integer, difference_turned,
    quotient_turned, sum_to_maximum, maximum_to_minimum, last_tile_left_out, first_tile_left_out, rounded_down,
    stride_changed, stride_dropped, factor_dropped, store_removed, comparison_off_by_one,
    comparison_inverted, where_turned, other_program, neighbour_read, other_exponential,
    sum_overwritten,
)  # fmt: skip
