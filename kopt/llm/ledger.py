"""Keep the run's ledger: what was reserved, paid, lost and reused, call by call, and the two hard caps.

The ledger is an append-only file of JSON lines.  A line is written before each call (the most that it may cost) and
after it (what it did cost), so that a cap holds across kills: a call that was in flight when its process died counts
at its worst case, unless its reply reached the store.  Several processes of one run may write at once; each reads the
others' lines before it reserves.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from kopt.artifact import read_plain
from kopt.llm.reply import NoReplyReason, Usage
from kopt.llm.request import Request
from kopt.llm.table import Price
from kopt.locks import lock_file
from kopt.model.base import Value
from kopt.model.cost import Cost, total


class Reserved(Value):
    """A call is about to be made."""

    event: Literal["reserved"] = "reserved"
    call: str
    """Name of the call, unique."""
    request: str
    """Digest of the request."""
    label: str
    """Purpose of the call, e.g. a slot's name."""
    model: str
    dollars: float
    """The most that the call can cost, US dollars."""


class Settled(Value):
    """A call returned a reply, which is in the store."""

    event: Literal["settled"] = "settled"
    call: str
    request: str
    label: str
    model: str
    status: str
    usage: Usage
    saved: float = 0.0
    """Saving by prompt caching, US dollars; negative when caching cost more."""
    seconds: float = 0.0
    """Time from the start of the call to its last token, s."""


class Released(Value):
    """A call returned no reply."""

    event: Literal["released"] = "released"
    call: str
    request: str
    label: str
    model: str
    reason: NoReplyReason
    billed: bool
    """The provider may charge for the call."""
    dollars: float
    """The most that is charged for it, US dollars; 0 when the server turned the call away."""
    seconds: float = 0.0
    """Time that the call took, s."""


class Reused(Value):
    """A reply was in the store and nothing was asked."""

    event: Literal["reused"] = "reused"
    request: str
    label: str
    """The first label that the reply was found for."""
    model: str
    usage: Usage
    """Tokens of the reply, and its cost when it was first made, US dollars."""


Line = Reserved | Settled | Released | Reused
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="event")])


class Budget(Value):
    """Hard caps of a run; None: no cap."""

    usd: float | None = Field(default=None, ge=0)
    """Most US dollars that the run may spend on replies."""
    calls: int | None = Field(default=None, ge=0)
    """Most calls that the run may make; calls that a server turned away do not count."""


class Ledger:
    """Write and sum a run's ledger file, within its caps; cheap to open, safe for several processes."""

    def __init__(self, path: Path, budget: Budget | None = None) -> None:
        self.path = path
        self.budget = budget or Budget()
        self._read_to = 0
        """Bytes of the file that were read."""
        self._calls: dict[str, Reserved | Settled | Released] = {}
        """The last line of each call, by the call's name."""
        self._reused: dict[str, Reused] = {}
        """Lines of reused replies, by request."""
        self._paid: set[str] = set()
        """Requests whose reply this run paid for."""
        self._committed = 0.0
        """Paid and reserved, US dollars."""
        self._begun = 0
        """Calls that count against the cap."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock_file(path.with_name(path.name + ".lock"), 600.0)

    def reserve(self, request: Request, label: str, price: Price) -> Reserved | None:
        """Reserve the worst case of one call, or return None when the call could pass a cap."""
        with self._lock:
            self._catch_up()
            dollars = price.worst(request)
            if not self._fits(dollars):
                return None
            line = Reserved(
                call=uuid.uuid4().hex, request=request.digest, label=label, model=request.model, dollars=dollars
            )
            self._append(line)
        return line

    def settle(self, call: Reserved, status: str, usage: Usage, *, saved: float = 0.0, seconds: float = 0.0) -> None:
        """Replace a reservation by what the reply cost.  The reply must be in the store already."""
        given = call.model_dump(exclude={"event", "dollars"})
        self.write(Settled(**given, status=status, usage=usage, saved=saved, seconds=round(seconds, 3)))

    def enter(self, request: Request, label: str, status: str, usage: Usage, *, saved: float = 0.0) -> None:
        """Note a reply that came without a call of this run: through an exchange folder."""
        given = {"call": uuid.uuid4().hex, "request": request.digest, "label": label, "model": request.model}
        self.write(Settled(**given, status=status, usage=usage, saved=saved))

    def release(
        self, call: Reserved, reason: NoReplyReason, *, billed: bool, dollars: float, seconds: float = 0.0
    ) -> None:
        """Replace a reservation by the most that a failed call costs, US dollars."""
        given = call.model_dump(exclude={"event", "dollars"})
        self.write(Released(**given, reason=reason, billed=billed, dollars=dollars, seconds=round(seconds, 3)))

    def reuse(self, request: Request, label: str, usage: Usage) -> None:
        """Note that a reply was in the store: once for a request, and not when this run paid for it."""
        with self._lock:
            self._catch_up()
            if request.digest not in self._reused and request.digest not in self._paid:
                self._append(Reused(request=request.digest, label=label, model=request.model, usage=usage))

    def recover(self, stored: Callable[[str], tuple[str, Usage] | None]) -> None:
        """Settle the calls that a killed process had reserved and whose replies reached the store.

        Args:
            stored: returns status and usage of the stored reply to a request, by the request's digest.
        """
        self.refresh()
        for call in self.outstanding():
            outcome = stored(call.request)
            if outcome is not None and call.request not in self._paid:
                self.settle(call, *outcome)

    def write(self, line: Line) -> None:
        """Append one line."""
        with self._lock:
            self._catch_up()
            self._append(line)

    def refresh(self) -> None:
        """Read the lines that other processes wrote."""
        with self._lock:
            self._catch_up()

    def outstanding(self) -> list[Reserved]:
        """Return the reservations that nothing replaced: in flight, or lost with a killed process."""
        return [line for line in self._calls.values() if isinstance(line, Reserved)]

    def lines(self) -> list[Line]:
        """Return the last line of every call, and then the reuses, in the order in which they began."""
        return [*self._calls.values(), *self._reused.values()]

    def cost(self) -> Cost:
        """Sum what the run's replies cost so far."""
        return total(cost_of(line) for line in self.lines())

    def _fits(self, dollars: float) -> bool:
        if self.budget.calls is not None and self._begun + 1 > self.budget.calls:
            return False
        return self.budget.usd is None or self._committed + dollars <= self.budget.usd

    def _catch_up(self) -> None:
        """Read the lines since the last time; end a last line that a kill tore, so that it is passed over."""
        try:
            with self.path.open("rb+") as file:
                file.seek(self._read_to)
                content = file.read()
                if content and not content.endswith(b"\n"):
                    file.write(b"\n")
                    content += b"\n"
        except FileNotFoundError:
            return
        self._read_to += len(content)
        for line in content.splitlines():
            self._note(line)

    def _note(self, raw: bytes) -> None:
        try:
            line = _LINE.validate_json(raw)
        except ValidationError:
            return
        self._remember(line)

    def _remember(self, line: Line) -> None:
        if isinstance(line, Reused):
            self._reused[line.request] = line
            return
        before = self._calls.get(line.call)
        self._count(line, 1)
        if before is not None:
            self._count(before, -1)
        self._calls[line.call] = line
        if isinstance(line, Settled):
            self._paid.add(line.request)

    def _count(self, line: Reserved | Settled | Released, sign: int) -> None:
        """Update the sums that the caps are checked against, so that a reservation does not add up the whole file."""
        cost = cost_of(line)
        self._committed += sign * cost.paid_usd
        self._begun += sign * (cost.calls + cost.lost)

    def _append(self, line: Line) -> None:
        content = (json.dumps(line.model_dump(mode="json"), sort_keys=True) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, content)
        finally:
            os.close(handle)
        self._read_to += len(content)
        self._remember(line)


def ledger_lines(path: Path) -> list[Line]:
    """Read a ledger as it stands, without its lock, also while calls are made: as `Ledger.lines`, empty without a file.

    A line that is being written is passed over.
    """
    calls: dict[str, Line] = {}
    reused: dict[str, Line] = {}
    for raw in read_plain(path).splitlines() if path.exists() else []:
        with suppress(ValidationError):
            line = _LINE.validate_json(raw)
            if isinstance(line, Reused):
                reused[line.request] = line
            else:
                calls[line.call] = line
    return [*calls.values(), *reused.values()]


def cost_of(line: Line) -> Cost:
    """Return the cost of one line of a ledger; a call in flight counts as lost, at its worst case."""
    if isinstance(line, Settled):
        return _tokens(line.usage).model_copy(
            update={"calls": 1, "paid_usd": line.usage.dollars, "saved_usd": line.saved}
        )
    if isinstance(line, Reused):
        return _tokens(line.usage).model_copy(update={"stored": 1, "stored_usd": line.usage.dollars})
    if isinstance(line, Reserved) or line.billed:
        return Cost(lost=1, paid_usd=line.dollars, lost_usd=line.dollars)
    return Cost(turned_away=1)


def _tokens(usage: Usage) -> Cost:
    return Cost(
        input=usage.input + usage.cached_input + usage.cache_write,
        cached=usage.cached_input,
        output=usage.output,
        reasoning=usage.reasoning,
        estimated=usage.estimated,
    )
