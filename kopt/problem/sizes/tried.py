"""Try a reference with other sizes, and see which dimensions of its inputs follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from kopt.problem.sizes.size import Size

Shape = tuple[int, ...]


class Trial(Protocol):
    """The shapes that a reference makes with one choice of its sizes."""

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""

    @property
    def parameters(self) -> tuple[Shape, ...]:
        """Shapes of the parameters."""

    @property
    def made(self) -> tuple[Shape, ...]:
        """Shapes of all results."""

    @property
    def pieces(self) -> tuple[bool, ...]:
        """Whether the pieces are equally long, for each tensor and dimension that is cut into pieces."""

    @property
    def contracted(self) -> frozenset[int]:
        """Lengths over which the reference multiplies batches of matrices."""

    @property
    def windowed(self) -> bool:
        """Whether the reference moves windows over its inputs (convolutions, poolings, interpolations)."""

    @property
    def chosen_from(self) -> frozenset[int]:
        """Lengths of the rows of which the reference takes the largest few."""

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""


Try = Callable[[Mapping[str, int]], Trial | None]
"""Runs the reference with constants replaced; None where it does not run."""


class Tried:
    """A reference that is run with other constants."""

    def __init__(self, run: Try) -> None:
        """Run the reference as it is.

        Args:
            run: runs the reference with other numbers.
        """
        given = run({})
        assert given is not None
        self.given = given
        """Its shapes with its own constants."""
        self.shapes_of = run
        """Runs it with other constants, whatever the pieces that it cuts."""

    def run(self, constants: Mapping[str, int]) -> Trial | None:
        """Run the reference with other constants; None where it does not run, or no longer cuts into equal pieces."""
        trial = self.shapes_of(constants)
        if trial is None or len(trial.pieces) != len(self.given.pieces):
            return trial
        uneven = any(was and not now for was, now in zip(self.given.pieces, trial.pieces, strict=True))
        return None if uneven else trial

    @property
    def is_flat(self) -> bool:
        """Whether no tensor has more than one dimension."""
        given = self.given
        return all(len(shape) < 2 for shape in (*given.inputs, *given.parameters, *given.made))

    def is_batch(self, size: Size) -> bool:
        """Return whether a size is the first dimension of the first input, and of no input or parameter another one.

        Where all inputs have one dimension, no size is a batch.
        """
        trial = self.run(size.at(size.values[0] - size.step))
        if size.step > 1 or trial is None or trial.parameters != self.given.parameters:
            return False
        pairs = list(zip(self.given.inputs, trial.inputs, strict=True))
        leads = pairs[0][0][:1] != pairs[0][1][:1] and any(own != changed and len(own) > 1 for own, changed in pairs)
        return leads and all(own[1:] == changed[1:] for own, changed in pairs)

    def is_row(self, size: Size, rank: int = 1) -> bool:
        """Return whether a size is the length of the rows of an input or a parameter of `rank` dimensions or more.

        The size of a batch is no such length, though an input of one dimension may have a number for each element of
        the batch (lengths, positions).
        """
        trial = self.run(size.at(size.values[0] - size.step))
        if trial is None or self.is_batch(size):
            return False
        given, changed = (*self.given.inputs, *self.given.parameters), (*trial.inputs, *trial.parameters)
        pairs = zip(given, changed, strict=False)
        return any(len(one) == len(other) >= rank and one[-1] != other[-1] for one, other in pairs)
