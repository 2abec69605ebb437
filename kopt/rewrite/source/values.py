"""Number the values of a kernel: equal numbers mean equal values, of addresses, masks and what is loaded there.

Statements are read in order.  A load is numbered by address, mask and the stores before it that may have changed what
it reads, so that a load finds the name that holds its value already, or the store that has just written it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel

PLAIN_LOAD = frozenset({"mask", "other", "eviction_policy", "cache_modifier"})
"""Keywords of a load that says no more than which elements it reads."""
PURE = ("tl.", "libdevice.", "triton.")
"""Modules whose functions change no memory, save those that say so."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A store whose elements no later store has changed."""

    call: cst.Call
    pointer: int
    mask: int | None
    value: cst.BaseExpression
    number: int
    """Number of the value."""


@dataclass(frozen=True, eq=False)
class Reload:
    """A load whose elements the program holds already."""

    node: cst.BaseExpression
    """The load, or a whole expression with it whose value has a name."""
    call: cst.Call
    holder: str = ""
    """The name that holds the value of the node."""
    stored: Stored | None = None
    """The store that wrote what the load reads, where no name holds the value."""
    base: str = ""
    behind_store: bool = False
    """Whether a store lies between, so that no compiler can know that the value is the same."""


@dataclass(eq=False)
class Access:
    """A load or store with the parameter that its address begins with; the empty string where that is not known."""

    call: cst.Call
    base: str


@dataclass
class Values:
    """The values of a kernel, read in order.

    Args:
        kernel: the kernel.
        private: parameters whose memory no other parameter reaches.
    """

    kernel: Kernel
    private: frozenset[str]
    reloads: list[Reload] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    pointers: dict[str, str] = field(default_factory=dict)
    """Names that have held addresses, with the parameters that the addresses begin with."""
    _numbers: dict[object, int] = field(default_factory=dict)
    _first: dict[int, int | str] = field(default_factory=dict)
    """Where a number comes from: the number that a sum of addresses begins with, or a name."""
    _env: dict[str, int] = field(default_factory=dict)
    _holders: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Names of loaded values, with how many stores there were before."""
    _epochs: dict[str, int] = field(default_factory=dict)
    _stored: dict[str, Stored] = field(default_factory=dict)
    _stores: int = 0

    def read(self) -> Values:
        """Read the whole kernel."""
        self._block(self.kernel.body)
        return self

    def _block(self, body: Iterable[cst.CSTNode]) -> None:
        for statement in body:
            if isinstance(statement, cst.SimpleStatementLine):
                for small in statement.body:
                    self._small(small)
                continue
            self._forget(statement)
            if isinstance(statement, cst.For):
                self._block(statement.body.body)
            elif isinstance(statement, cst.If):
                self._branches(statement)
            self._forget(statement)

    def _branches(self, branch: cst.If) -> None:
        self._block(branch.body.body)
        self._forget(branch)
        if isinstance(branch.orelse, cst.If):
            self._block([branch.orelse])
        elif branch.orelse is not None:
            self._block(branch.orelse.body.body)

    def _forget(self, statement: cst.CSTNode) -> None:
        """Forget what a compound statement changes: it is not known where the statement or a branch begins or ends."""
        nodes = syntax.walk(statement)
        for node in nodes:
            if isinstance(node, (cst.AssignTarget, cst.AugAssign, cst.For, cst.NamedExpr, cst.AnnAssign)):
                for name in syntax.names(node.target):
                    self._env[name] = self._new()
        if any(isinstance(n, cst.Call) and (syntax.called(n) == "tl.store" or self._changes(n)) for n in nodes):
            self._everything_changed()

    def _everything_changed(self) -> None:
        self._changed(["", *(p.name for p in self.kernel.parameters)])

    def _changed(self, bases: Iterable[str]) -> None:
        """Note that memory may have changed that these parameters reach."""
        self._stores += 1
        for name in bases:
            self._stored.pop(name, None)
            self._epochs[name] = self._epochs.get(name, 0) + 1

    def _small(self, small: cst.BaseSmallStatement) -> None:
        if (
            isinstance(small, cst.Expr)
            and syntax.called(small.value) == "tl.store"
            and isinstance(small.value, cst.Call)
        ):
            self._store(small.value)
            return
        self._loads(small)
        if any(isinstance(n, cst.Call) and self._changes(n) for n in syntax.walk(small)):
            self._everything_changed()
        if isinstance(small, cst.AugAssign) and isinstance(small.target, cst.Name):
            old = self._env.get(small.target.value)
            self._env[small.target.value] = self._make((type(small.operator), old, self.number(small.value)))
            return
        pair = syntax.assigned(small)
        if pair is None:
            for name in (n for node in syntax.walk(small) if isinstance(node, cst.AssignTarget)
                         for n in syntax.names(node.target)):  # fmt: skip
                self._env[name] = self._new()
            return
        name, value = pair
        number = self.number(value)
        self._env[name] = number
        base = self._base(number)
        if base:
            self.pointers[name] = base
        if any(syntax.called(n) == "tl.load" for n in syntax.walk(value)):
            held = self._holders.get(number)
            if held is None or self._env.get(held[0]) != number:
                self._holders[number] = (name, self._stores)

    def _loads(self, node: cst.CSTNode) -> None:
        """Find the loads below a node that read what the program holds."""
        loads = [n for n in syntax.walk(node) if isinstance(n, cst.Call) and syntax.called(n) == "tl.load"]
        if not loads:
            return
        if isinstance(node, cst.BaseExpression):
            held = self._holders.get(self.number(node))
            if held is not None and self._env.get(held[0]) == self.number(node):
                first = syntax.argument(loads[0], 0, "pointer")
                base = self._base(self.number(first.value)) if first else ""
                self.reloads.append(Reload(node, loads[0], held[0], None, base, self._stores > held[1]))
                return
        if isinstance(node, cst.Call) and syntax.called(node) == "tl.load":
            self._load(node)
        for child in syntax.children(node):
            self._loads(child)

    def _load(self, call: cst.Call) -> None:
        pointer = syntax.argument(call, 0, "pointer")
        address = self.number(pointer.value) if pointer else self._new()
        base = self._base(address)
        self.accesses.append(Access(call, base))
        stored = self._stored.get(base)
        mask = syntax.argument(call, 1, "mask")
        if stored is None or stored.pointer != address or not _plain(call):
            return
        covers = stored.mask in (None, self.number(mask.value) if mask else None)
        if covers and self.number(stored.value) == stored.number:
            self.reloads.append(Reload(call, call, "", stored, base, behind_store=True))

    def _store(self, call: cst.Call) -> None:
        for passed in call.args:
            self._loads(passed.value)
        pointer, value = syntax.argument(call, 0, "pointer"), syntax.argument(call, 1, "value")
        mask = syntax.argument(call, 2, "mask")
        address = self.number(pointer.value) if pointer else self._new()
        base = self._base(address)
        self.accesses.append(Access(call, base))
        if not base or value is None or syntax.starred(call):
            self._everything_changed()
            return
        if base not in self.private:
            self._changed(p.name for p in self.kernel.parameters if p.name not in self.private)
            return
        self._stores += 1
        self._epochs[base] = self._epochs.get(base, 0) + 1
        number = self.number(mask.value) if mask else None
        self._stored[base] = Stored(call, address, number, value.value, self.number(value.value))

    def _changes(self, call: cst.Call) -> bool:
        """Return whether a call may change memory otherwise than by a plain store."""
        name = syntax.called(call)
        last = call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
        if name.startswith(PURE):
            return "atomic" in name or last in ("debug_barrier", "inline_asm_elementwise")
        if isinstance(call.func, cst.Attribute):
            return last not in ("to", "cast")
        return any(self._base(self.number(a.value)) for a in call.args)

    def _base(self, number: int) -> str:
        """Name the pointer parameter that an address begins with."""
        while True:
            first = self._first.get(number)
            if not isinstance(first, int):
                return first if first is not None and self.kernel.parameter(first) else ""
            number = first

    def _new(self) -> int:
        return self._make(object())

    def _make(self, key: object) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def number(self, node: cst.CSTNode) -> int:
        """Number the value of an expression at the place that was read last."""
        match node:
            case cst.Name():
                known = self._env.get(node.value)
                if known is not None:
                    return known
                number = self._make(("name", node.value))
                self._first[number] = node.value
                return number
            case cst.Attribute():
                return self._make(("attribute", self.number(node.value), node.attr.value))
            case cst.Arg():
                return self._make((node.keyword.value if node.keyword else "", node.star, self.number(node.value)))
            case cst.Call() if syntax.called(node) == "tl.load":
                return self._number_of_load(node)
            case cst.Call() if self._changes(node):
                return self._new()
        below = syntax.children(node)
        if not below:
            return self._make((type(node), syntax.code(node)))
        number = self._make((type(node), *(self.number(child) for child in below)))
        sums = isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add)
        if sums and isinstance(node, cst.BinaryOperation):
            self._first[number] = self.number(node.left)
        return number

    def _number_of_load(self, call: cst.Call) -> int:
        if not _plain(call):
            return self._new()
        pointer, mask = syntax.argument(call, 0, "pointer"), syntax.argument(call, 1, "mask")
        other = syntax.argument(call, 2, "other")
        if pointer is None:
            return self._new()
        address = self.number(pointer.value)
        base = self._base(address)
        parts = [self.number(a.value) if a else -1 for a in (mask, other)]
        return self._make(("load", address, *parts, base, self._epochs.get(base, 0)))


def escaped(values: Values) -> set[str]:
    """Name the parameters whose addresses are used for more than the loads and stores that were read."""
    kernel = values.kernel
    accessed = {a.base for a in values.accesses} | {r.base for r in values.reloads}
    names = {base: base for base in accessed if base}
    names |= {name: base for name, base in values.pointers.items() if base in accessed}
    known = set[int]()
    for access in values.accesses:
        pointer = syntax.argument(access.call, 0, "pointer")
        known |= {id(n) for n in syntax.walk(pointer.value)} if pointer and access.base else set()
    for reload in values.reloads:
        known |= {id(n) for n in syntax.walk(reload.call.args[0].value)} if reload.base else set()
    for node in kernel.nodes:
        if isinstance(node, cst.Attribute) and node.attr.value == "dtype":
            known.add(id(node.value))
        if isinstance(node, cst.Assign) and (pair := syntax.assigned(node)):
            made = values.pointers.get(pair[0])
            known |= {
                id(n) for n in syntax.walk(node) if isinstance(n, cst.Name) and names.get(n.value) == made and made
            }
    words = {id(n.keyword) for n in kernel.nodes if isinstance(n, cst.Arg)}
    words |= {id(n.attr) for n in kernel.nodes if isinstance(n, cst.Attribute)}
    return {names[n.value] for n in kernel.nodes
            if isinstance(n, cst.Name) and id(n) not in known | words and n.value in names}  # fmt: skip


def _plain(call: cst.Call) -> bool:
    return not syntax.starred(call) and all(a.keyword is None or a.keyword.value in PLAIN_LOAD for a in call.args)


def bases(values: Values, calls: Sequence[str]) -> set[str]:
    """Name the parameters that some calls access, `tl.load` or `tl.store`."""
    return {a.base for a in values.accesses if syntax.called(a.call) in calls}
