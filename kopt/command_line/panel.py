"""Define the panels of `kopt --help`: what a user wants to do, in the order of a user's first day."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Panel(Enum):
    """A heading of `kopt --help`; headings are shown in this order."""

    BRING = "Bring an operator"
    SEARCH = "Search"
    LOOK = "Look"
    USE = "Use the result"
    PROVE = "Prove"
    HOUSE = "Keep house"


class Place(NamedTuple):
    """The place of a command in `kopt --help`."""

    panel: Panel
    number: int
    """Commands of a panel are shown by ascending number, then by name."""
