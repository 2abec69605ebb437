"""Define the form in which a kind of draw is drawn for one problem."""

from __future__ import annotations

from dataclasses import dataclass

from kopt.device.draws.sources import Source


@dataclass(frozen=True)
class Form:
    """The form in which a kind of draw stays inside the domain of one problem's reference."""

    level: int = 0
    """Mildness: 0 for the kind itself, larger numbers for milder forms."""
    signed: bool = False
    """Whether both signs are drawn though `get_inputs` gives values from 0 to 1."""
    place: int = 0
    """Place, among the inputs whose values are free, of the one that has the kind's edges."""
    others_positive: bool = False
    """Whether the other inputs and the model's weights are positive."""
    further: tuple[int, ...] = ()
    """Places, among the inputs whose values are free, of other inputs that have the kind's edges at mildness 0:
    of `large` for inputs of which exponentials are taken."""
    special: tuple[float, ...] = ()
    """Values that are not finite, drawn for the inputs in which the reference asks for them."""
    edged: tuple[Source, ...] = ()
    """Inputs, parameters and buffers that alone have the kind's edges, in place of the one at `place`."""
