"""Define a strategy: it chooses the parents of each round and shares the round's slots out among them.

A strategy is one module of `kopt.search.strategies`: a subclass of `Strategy`, and an instance of it called `STRATEGY`.
The module's name is the strategy's name in the setting `strategy`; nothing else lists it.

Every strategy keeps these laws, which `tests/search/test_strategies.py` tests for each module of the folder:

- Parents number at least one and at most `width`, and no two have the same fingerprint.
- The fastest kernel of the pool is a parent, so that a run never loses its best kernel.
- The choice does not depend on the order of the pool; ties are broken by age (`kopt.search.order`).
- An archive that is written and read again is the same archive.
- Slots number exactly `fan_out.slots`; each names a parent by its rank, a direction from 1 to `fan_out.bottlenecks` and
  one of `fan_out.models`, and no two slots make the same request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from kopt.errors import ConfigError
from kopt.model.base import Value
from kopt.model.kernel import Slot
from kopt.model.trial import SelectionRow, TimedKernel
from kopt.search.expand import FanOut, expand


class PoolMember(TimedKernel):
    """A kernel that may become a parent: its time and its techniques."""

    techniques: tuple[str, ...]
    """Names in the taxonomy's order; empty for a kernel that is not classified."""
    cluster: str
    """Name shared by the kernels with the same techniques; a kernel that is not classified has its own."""


class Asked(Value):
    """One request to a proposer in the round that ended, whether it brought a kernel or not."""

    origin: str
    """Name of the candidate (`r2a0s17`)."""
    parent: str
    """Kernel digest of the parent; empty for the seed."""
    model: str
    cost_usd: float
    """Cost of the reply when it was made, US dollars; 0 for an embedded proposer."""


class Archive(Value):
    """The state that a strategy keeps from round to round: none, unless a subclass has fields, each with a default."""


A = TypeVar("A", bound=Archive)


class Strategy(ABC, Generic[A]):
    """Choose the parents of a search, and share out the slots among them."""

    archive: type[A]
    """Class of the archive, whose defaults are the archive before the first round."""

    def check(self, fan_out: FanOut) -> None:
        """Refuse settings with which the strategy makes no sense.

        Raises:
            ConfigError: one line that names the settings and what to do.
        """
        if not fan_out.models:
            raise ConfigError("models: name at least one proposer, e.g. models='[kopt-rewrite]'")

    def learn(self, asked: Sequence[Asked], pool: Sequence[PoolMember], archive: A) -> A:
        """Remember what the round's requests cost and brought, before `choose`: by default nothing.

        Args:
            asked: the round's requests, repairs included, in any order.
            pool: the pool that `choose` gets next.
            archive: the strategy's archive after the previous round.
        """
        return archive

    @abstractmethod
    def choose(self, pool: Sequence[PoolMember], archive: A, width: int) -> tuple[list[PoolMember], A]:
        """Choose the parents of the next round, in order of rank, and what to remember.

        Args:
            pool: the previous round's parents and its correct children in any order; at least one, some perhaps equal.
            archive: the strategy's archive after the previous round.
            width: most parents.
        """

    def slots(self, parents: Sequence[SelectionRow], archive: A, fan_out: FanOut) -> list[Slot]:
        """Share out a round's slots: by default evenly, over parents, directions, proposers and samples.

        Args:
            parents: the parents that `choose` returned.
            archive: the archive that `choose` returned with the parents.
            fan_out: how many slots, and how many directions each parent has.
        """
        return expand(parents, fan_out)
