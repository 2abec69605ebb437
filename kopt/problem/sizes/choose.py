"""Choose small, ragged and hidden sizes of a reference, by trying which sizes it takes.

A size is a constant of the reference that reaches the shapes of its inputs or parameters; where these sizes leave
tensors too large, also one that reaches the shapes of results alone, as a vocabulary to which gradients are added.  The
steps:

1. Find for each size the step in which it can change alone (8 where 8 groups must divide it), or the sizes that have to
   change with it.
2. Halve the largest size again and again, until no tensor is larger than wanted; what powers of two divide a size
   divides it still.  One size may stay long, so that a loop over it goes round more than once.
3. For a ragged workload, add a rest to each size, or take one off, so that no size is a multiple of a tile, and most
   are a usual tile and a rest; long sizes have a rest, too.  Small sizes (three coordinates, four heads) are structure,
   and stay, but for a batch, the first dimension of the first input: an exported kernel shall take any.  Rows of heads
   (contracted in batches, or of three dimensions without windows) stay powers of two from 16 to 256 where they are
   such, as kernels hold such a row in one tile.  Sizes that a view merges and parts by a constant stay multiples of it.

A size of which each step adds operations, as steps of time in a loop, stays as it is where the reference takes other
small sizes: a kernel that is made of the reference has the passes of the loop written out.

A choice is taken if the reference runs with it, no dimension of any of its tensors shrinks to 1, and a tensor that it
cuts into equal pieces (the halves of a head) still is.  Works on values: what runs the reference is passed as a
function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kopt.problem.sizes.find import STRUCTURAL, Finder
from kopt.problem.sizes.size import Constants, Size, lower, ragged, rounded, with_rest
from kopt.problem.sizes.tried import Shape, Tried, Try

START = 1024
"""Largest size of a small workload."""

LONG = 16
"""Largest ratio of the longest size of the workload `tiles` to the others."""

LONGEST, ROW, FLAT = 1024, 4096, 1 << 14
"""A size that alone is long: its ratio to the others, at most; its largest value where rows are as long, and where
there is no other dimension."""

LOOPED = 128
"""Size from which on kernels may go over it in a loop, with tiles that are as long, or shorter."""

TWO_TILES = 2 * LOOPED
"""A size from this on is long: with its rest it is more than two tiles of a loop."""

LARGEST = 1 << 17
"""Most elements of a tensor, but for a rest, where a size is not long with as many as wanted: kopt's interpreter takes
a part of a second for them."""

MOST_LONG = 4
"""Sizes, at most, that are long one after the other."""

ROW_UNIT = 8
"""Ragged rows stay a multiple of this where the given ones are, since tensor descriptors need rows of 16 bytes."""

RESTS = 4
"""How many times more elements than wanted a tensor may have where its sizes have rests."""

COORDINATES = 3
"""A first dimension of this size is taken for coordinates or colours, not for a batch."""

KEPT = 4
"""A size up to this (three coordinates, four heads) stays as it is, unless the reference takes no other small sizes."""


class Sizes:
    """The sizes of one reference, and the workloads that follow from them."""

    def __init__(
        self,
        constants: Mapping[str, int],
        run: Try,
        *,
        results: bool = False,
        ties: Collection[tuple[str, ...]] = (),
    ) -> None:
        """Find the sizes.

        Args:
            constants: whole numbers of the reference, by name.
            run: runs the reference with other numbers.
            results: a constant that reaches the shapes of results alone is a size, too.
            ties: constants of equal value that change together where the reference takes that.
        """
        self._tried = Tried(run)
        self._kept = KEPT
        self.sizes = Finder(self._tried, results, ties).found(constants)

    def change_all(self) -> None:
        """Let also the smallest sizes change from now on."""
        self._kept = 1

    def _stays(self, size: Size) -> bool:
        """Return whether a size is structure: small, or a number of passes."""
        return size.values[0] <= self._kept or (size.repeats and self._kept == KEPT)

    def small(self, most: int) -> Constants | None:
        """Return sizes with one long dimension and short others; None where the reference takes none so small."""
        return self._whole(self._shrunk(most, START, LONG))

    def long(self, most: int) -> Iterator[tuple[str, Constants]]:
        """Yield the name and the sizes of workloads in which one size, over which kernels may loop, is alone long.

        A kernel that forgets its sum at every step of a loop is right where the loop goes round once.  Where a size is
        not long with tensors of `most` elements (heads that cannot shrink stand beside it), they may have up to
        `LARGEST`.
        """
        usual = self._shrunk(most, START, LONG) or {}
        for at, size in enumerate(self.sizes[:MOST_LONG]):
            row, before = self._tried.is_row(size), usual.get(size, 0)
            enough = min(TWO_TILES, size.values[0])
            if (
                self._stays(size) or size.values[0] < LOOPED or (at == 0 and not row and before >= enough)
            ):  # long in `small`
                continue
            longest = FLAT if self._tried.is_flat else ROW if row else START
            for elements in (most, *(wider for wider in (most << n for n in range(1, 8)) if wider <= LARGEST)):
                chosen = self._shrunk(elements, START, LONGEST, longest=size, longest_start=longest)
                if chosen is not None and chosen[size] >= enough:
                    break
            if chosen is not None and (chosen[size] >= 2 * before or before < enough <= chosen[size]):
                rests = ({**chosen, size: value} for value in with_rest(chosen[size], size, self._unit(size)))
                yield size.names[0], self._changed(next((c for c in rests if self._fits(c, 2 * elements)), chosen))

    def ragged(self, most: int, start: int = START, flat: int = START) -> Constants | None:
        """Return sizes alike in length and no multiples of tiles; None where the reference takes none so small.

        Args:
            most: elements of a tensor, at most, but for the rests.
            start: largest value of a size.
            flat: largest value where there is no other dimension.
        """
        start = flat if self._tried.is_flat else start
        even = self._shrunk(most, start, 1)
        if even is None:
            return None
        chosen = dict(even)
        # Sizes that differ show a kernel that takes one for another.
        taken = {even[size] for size in self.sizes if self._stays(size)}
        for size in self.sizes:
            own = size.values[0]
            batch = own != COORDINATES and not size.repeats and self._tried.is_batch(size)
            if not batch and (self._stays(size) or (even[size] == own <= STRUCTURAL and own not in taken)):
                taken.add(own)
                continue
            values = list(ragged(even[size], size, self._unit(size))) or [own + size.step] * batch
            for odd in sorted(values, key=lambda value: value in taken):
                if self._fits({**chosen, size: odd}, RESTS * most):
                    taken.add(odd)
                    chosen[size] = odd
                    break
        return self._whole(chosen)

    def _unit(self, size: Size) -> int:
        """Return what ragged values of a size are multiples of."""
        return ROW_UNIT if size.values[0] % ROW_UNIT == 0 and self._tried.is_row(size) else 1

    def _shrunk(
        self, most: int, start: int, long: int, *, longest: Size | None = None, longest_start: int | None = None
    ) -> dict[Size, int] | None:
        """Halve the largest size until no tensor has more than `most` elements.

        Args:
            most: elements of a tensor, at most.
            start: largest value of a size.
            long: how many times longer than the others the longest size may stay.
            longest: the longest size; None for the first.
            longest_start: its largest value; None for that of the others.
        """
        chosen = {size: size.values[0] for size in self.sizes}
        if not chosen:
            return chosen if self._fits(chosen, most) else None
        longest = longest or self.sizes[0]
        frozen: set[Size] = set()
        for size in self.sizes:  # the first halvings at once
            limit = (longest_start if size is longest else None) or start
            if chosen[size] > limit and not self._stays(size):
                first = rounded(limit, size)
                if self._fits({**chosen, size: first}):
                    chosen[size] = first
        while not self._fits(chosen, most):
            open_sizes = [
                size
                for size in self.sizes
                if size not in frozen and chosen[size] > size.least and not self._stays(size)
            ]
            if not open_sizes:
                return None
            size = max(open_sizes, key=lambda size: chosen[size] / (long if size is longest else 1))
            value = next((v for v in lower(chosen[size], size) if self._fits({**chosen, size: v})), None)
            if value is None:
                frozen.add(size)
            else:
                chosen[size] = value
        return chosen

    def _fits(self, chosen: Mapping[Size, int], most: int | None = None) -> bool:
        trial = self._tried.run(self._constants(chosen))
        if trial is None or (most is not None and trial.largest > most):
            return False
        given = self._tried.given
        if [len(shape) for shape in trial.made] != [len(shape) for shape in given.made]:
            return all(size > 0 for shape in trial.made for size in shape)
        pairs = [*zip(trial.made, given.made, strict=True), *zip(trial.inputs, given.inputs, strict=True)]
        return not any(_collapsed(shape, given) for shape, given in pairs)

    def _constants(self, chosen: Mapping[Size, int]) -> Constants:
        return {name: own for size, value in chosen.items() for name, own in size.at(value).items()}

    def _whole(self, chosen: Mapping[Size, int] | None) -> Constants | None:
        """Return the constants that differ from the reference's own."""
        return None if chosen is None else self._changed(chosen)

    def _changed(self, chosen: Mapping[Size, int]) -> Constants:
        given = {name: value for size in self.sizes for name, value in zip(size.names, size.values, strict=True)}
        return {name: value for name, value in self._constants(chosen).items() if value != given[name]}


def _collapsed(shape: Shape, given: Shape) -> bool:
    if len(shape) != len(given):
        return False
    return any(now < min(before, 2) for now, before in zip(shape, given, strict=True))
