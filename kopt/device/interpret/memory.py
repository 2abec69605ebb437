"""Load, store and change memory as a kernel does, strictly: an access outside the tensors of its launch is an error.

A load that is masked off without `other` gives NaN.  Accesses are reported to the session's watch for data races.
`Any` stands for numbers and arrays of numbers of whatever type a kernel uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from triton._C.libtriton import interpreter

from kopt.device.interpret import numbers
from kopt.device.interpret.operations import whole
from kopt.device.interpret.schedule import Turn
from kopt.device.interpret.session import OutOfBounds, Session, UnwrittenMemory


class Access(NamedTuple):
    """One access in a kernel's text."""

    element: str
    """Element type in memory."""
    shape: tuple[int, ...]
    """Shape of the block; empty for a scalar."""
    volatile: bool = False
    observed: bool = True
    """Whether the kernel uses what an atomic operation returns, so that the operation can make a program wait."""
    acquires: bool = True
    """Whether an atomic operation sees what was released before."""
    releases: bool = True
    """Whether an atomic operation makes earlier stores of its program visible."""
    described: bool = False
    """Whether a descriptor makes the addresses."""


@dataclass(frozen=True)
class Descriptor:
    """A tensor descriptor."""

    base: int
    """Address of the first element."""
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    """Distances of neighbours along each dimension, elements."""
    block: tuple[int, ...]
    """Shape of the blocks that are loaded and stored."""
    element: str
    padding: Any
    """Value of what lies outside the tensor."""


def make_descriptor(
    base: Any, sizes: Sequence[Any], strides: Sequence[Any], block: Sequence[int], element: str, nan: bool
) -> Descriptor:
    """Make a descriptor.

    Raises:
        ValueError: a GPU's tensor memory accelerator cannot use such a tensor.
    """
    width = numbers.stored(element).itemsize
    if int(base) % 16:
        raise ValueError("the base of a tensor descriptor must be aligned to 16 bytes")
    if any(int(stride) * width % 16 for stride in strides[:-1]):
        raise ValueError("strides of a tensor descriptor must be multiples of 16 bytes")
    if int(strides[-1]) != 1:
        raise ValueError("the last dimension of a tensor descriptor must be contiguous")
    padding = numbers.missing(element) if nan else numbers.held(element).type(0)
    return Descriptor(int(base), tuple(map(int, sizes)), tuple(map(int, strides)), tuple(block), element, padding)


MOST_POLLS = 64
"""Times that a program may see the same value in the same place before others go on."""


class Memory:
    """The memory that the programs of a launch share, as one of them uses it."""

    def __init__(self, session: Session, program: int, turn: Turn) -> None:
        """Take the session, the program's number in its grid, and its turn among the programs."""
        self._session, self.program, self._turn = session, program, turn
        self._polled: tuple[Any, ...] = ()
        """Address and value that the program saw last, by an atomic operation or a volatile load."""
        self._polls = 0
        """Times in a row that the program has seen them again."""

    def _poll(self, places: Any, values: Any) -> None:
        """Let other programs go on where this one sees the same value in the same place again and again."""
        if places.size != 1:
            return
        seen = (int(places.reshape(-1)[0]), np.asarray(values).reshape(-1)[0])
        if seen != self._polled and self._polls >= MOST_POLLS:
            self._turn.note_progress()
        self._polls = self._polls + 1 if seen == self._polled else 0
        self._polled = seen
        if self._polls >= MOST_POLLS:
            self._turn.wait()

    def load(self, access: Access, addresses: Any, mask: Any = None, other: Any = None) -> Any:
        """Return the elements at addresses; `other` where the mask is false."""
        element, shape = access.element, access.shape or (1,)
        places = whole(addresses, shape)
        if mask is None or (np.ndim(mask) == 0 and mask):
            active, chosen, everywhere = places, np.asarray(True), True
        else:
            chosen = whole(mask, shape)
            active = places[chosen]
            everywhere = active.size == places.size
        if not active.size:
            value = numbers.missing(element) if other is None else other
            return value if not access.shape else np.full(shape, value, numbers.held(element))
        self._check_bounds("load", active, numbers.stored(element).itemsize, access.described)
        if self._session.watched:
            self._session.note_load(self.program, active, access.volatile)
        kind = numbers.stored(element)
        everything = _writable(whole(chosen, shape))
        bits = interpreter.load(_writable(places).view(np.uint64), everything, np.zeros(shape, kind), kind)
        values = numbers.decode(bits, element)
        if access.volatile:
            self._poll(active, values)
        if not everywhere:
            values = np.where(chosen, values, numbers.missing(element) if other is None else other)
        return values if access.shape else values[0]

    def store(self, access: Access, addresses: Any, values: Any, mask: Any = None) -> None:
        """Store values at addresses where the mask is true."""
        element, shape = access.element, access.shape or (1,)
        places = whole(addresses, shape)
        chosen = whole(True if mask is None else mask, shape)
        active = places[chosen]
        if not active.size:
            return
        self._check_bounds("store", active, numbers.stored(element).itemsize)
        bits = numbers.encode(whole(values, shape), element)
        if self._session.watched:
            self._note_store(access, active, bits[chosen])
        interpreter.store(_writable(places).view(np.uint64), _writable(bits), _writable(chosen))

    def _note_store(self, access: Access, active: Any, bits: Any) -> None:
        present = self._read(active, access.element)
        new = numbers.decode(bits, access.element)
        self._session.note_store(self.program, active, present, new)

    def modify(self, access: Access, operation: int, addresses: Any, values: Any, mask: Any = None) -> Any:
        """Change the elements at addresses one after the other; return what they were before."""
        function = _MODIFICATIONS[operation]
        element, shape = access.element, access.shape or (1,)
        places = whole(addresses, shape)
        chosen = whole(True if mask is None else mask, shape)
        active, operands = places[chosen], whole(values, shape)[chosen]
        before = np.zeros(shape, numbers.held(element))
        if active.size:
            self._check_bounds("atomic", active, numbers.stored(element).itemsize)
            self._note_atomic(access, active)
            before[chosen] = self._exchange(element, active, operands, function)
            self._poll(active, before[chosen])
        return before if access.shape else before[0]

    def compare_and_swap(self, access: Access, addresses: Any, expected: Any, values: Any) -> Any:
        """Store a value where the present one is as expected; return the present one."""
        element, shape = access.element, access.shape or (1,)
        places = whole(addresses, shape).reshape(-1)
        self._check_bounds("atomic", places, numbers.stored(element).itemsize)
        self._note_atomic(access, places)
        before = np.zeros(places.shape, numbers.held(element))
        wanted, new = whole(expected, shape).reshape(-1), whole(values, shape).reshape(-1)
        for at in range(places.size):
            one = slice(at, at + 1)
            before[one] = self._read(places[one], element)
            if before[at] == wanted[at]:
                self._write(places[one], new[one], element)
        most = np.iinfo(before.dtype).max if before.dtype.kind == "i" else None
        if most is not None and ((before == most) & (wanted != most)).any():
            raise UnwrittenMemory("tl.atomic_cas compares with memory that was never written: is the lock set to 0?")
        self._poll(places, before)
        return before.reshape(shape) if access.shape else before[0]

    def _exchange(self, element: str, places: Any, operands: Any, function: Callable[[Any, Any], Any]) -> Any:
        """Change elements by a function, one by one where addresses repeat; return the elements of before."""
        if np.unique(places).size == places.size:
            before = self._read(places, element)
            self._write(places, self._made(element, function(before, operands)), element)
            return before
        before = np.zeros(places.shape, numbers.held(element))
        for at in range(places.size):
            one = slice(at, at + 1)
            before[one] = self._read(places[one], element)
            self._write(places[one], self._made(element, function(before[one], operands[one])), element)
        return before

    @staticmethod
    def _made(element: str, values: Any) -> Any:
        return numbers.rounded(values, element) if numbers.is_floating(element) else values

    def _read(self, places: Any, element: str) -> Any:
        kind = numbers.stored(element)
        everywhere = np.ones(places.shape, np.bool_)
        bits = interpreter.load(_writable(places).view(np.uint64), everywhere, np.zeros(places.shape, kind), kind)
        return numbers.decode(bits, element)

    def _write(self, places: Any, values: Any, element: str) -> None:
        bits = _writable(numbers.encode(values, element))
        interpreter.store(_writable(places).view(np.uint64), bits, np.ones(places.shape, np.bool_))

    # --- descriptors --------------------------------------------------------------------------------------------------

    def load_block(self, descriptor: Descriptor, at: Sequence[Any], shape: tuple[int, ...]) -> Any:
        """Return the block of a tensor that begins at these indices; padding where it lies outside the tensor."""
        places, inside = self._block(descriptor, at)
        access = Access(descriptor.element, descriptor.block, described=True)
        return self.load(access, places, inside, descriptor.padding).reshape(shape)

    def store_block(self, descriptor: Descriptor, at: Sequence[Any], values: Any, shape: tuple[int, ...]) -> None:
        """Store a block of a tensor, except where it lies outside the tensor."""
        places, inside = self._block(descriptor, at)
        access = Access(descriptor.element, descriptor.block)
        self.store(access, places, whole(values, shape).reshape(descriptor.block), inside)

    def reduce_block(
        self, descriptor: Descriptor, at: Sequence[Any], values: Any, shape: tuple[int, ...], kind: int
    ) -> None:
        """Change a block of a tensor atomically (kinds as in `DescriptorReduceKind`)."""
        places, inside = self._block(descriptor, at)
        floating = numbers.is_floating(descriptor.element)
        operation = {1: 5 if floating else 4, 2: 7, 3: 6, 6: 1, 7: 2, 8: 3}[kind]
        access = Access(descriptor.element, descriptor.block, observed=False)
        self.modify(access, operation, places, whole(values, shape).reshape(descriptor.block), inside)

    def gather_rows(self, descriptor: Descriptor, rows: Any, column: Any, shape: tuple[int, ...]) -> Any:
        """Return a part of each of these rows of a tensor, from a column on."""
        return np.concatenate(
            [self.load_block(descriptor, (row, column), (1, shape[1])) for row in whole(rows, shape[:1])]
        )

    def scatter_rows(self, descriptor: Descriptor, rows: Any, column: Any, values: Any, shape: tuple[int, ...]) -> None:
        """Store a part of each of these rows of a tensor, from a column on."""
        for row, part in zip(whole(rows, shape[:1]), whole(values, shape), strict=True):
            self.store_block(descriptor, (row, column), part[None, :], (1, shape[1]))

    def _block(self, descriptor: Descriptor, at: Sequence[Any]) -> tuple[Any, Any]:
        """Return the addresses of a block's elements, and which of the elements lie inside the tensor."""
        rank = len(descriptor.block)
        width = numbers.stored(descriptor.element).itemsize
        places, inside = np.full((1,) * rank, descriptor.base, np.int64), np.ones((1,) * rank, np.bool_)
        for dimension, (start, size, stride, length) in enumerate(
            zip(at, descriptor.sizes, descriptor.strides, descriptor.block, strict=True)
        ):
            index = (int(start) + np.arange(length, dtype=np.int64)).reshape(
                [length if other == dimension else 1 for other in range(rank)]
            )
            places = places + index * (stride * width)
            inside = inside & (index >= 0) & (index < size)
        return places, inside

    # --- checks -------------------------------------------------------------------------------------------------------

    def _note_atomic(self, access: Access, places: Any) -> None:
        if self._session.watched:
            self._session.note_atomic(self.program, places, access.acquires and access.observed, access.releases)

    def _check_bounds(self, access: str, active: Any, width: int, described: bool = False) -> None:
        """Check the addresses of an access.

        Args:
            access: what it is, in a word.
            active: the addresses.
            width: bytes of an element.
            described: whether a descriptor made the addresses: it may span several of the tensors that the call was
                given, as one of two weights does whose outer stride is the distance between them.

        Raises:
            OutOfBounds: one lies outside every tensor of the launch.
        """
        low, high = int(active.min()), int(active.max()) + width
        ranges = self._session.ranges + (self._session.given if described else [])
        if any(start <= low and high <= end for start, end in ranges):
            return
        inside = np.zeros(active.shape, dtype=bool)
        for start, end in ranges:
            inside |= (active >= start) & (active + width <= end)
        if not inside.all():
            raise OutOfBounds(
                f"{int((~inside).sum())} of {active.size} addresses of a {access} lie outside every tensor that the "
                f"kernel was given (program {self.program}): a mask or a bound is missing"
            )


def _writable(array: Any) -> Any:
    """Return an array that Triton's functions take: they refuse one that cannot be written to."""
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


_MODIFICATIONS: dict[int, Callable[[Any, Any], Any]] = {
    1: np.bitwise_and, 2: np.bitwise_or, 3: np.bitwise_xor, 4: np.add, 5: np.add, 6: np.maximum, 7: np.minimum,
    8: lambda a, b: np.maximum(numbers.unsigned(a), numbers.unsigned(b)).view(a.dtype),
    9: lambda a, b: np.minimum(numbers.unsigned(a), numbers.unsigned(b)).view(a.dtype),
    10: lambda a, b: b,
}  # fmt: skip
"""Atomic operations by Triton's number."""
