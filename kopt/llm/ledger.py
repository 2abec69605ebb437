"""The run's ledger: what was reserved, paid, lost and reused, call by call, and the two hard caps.

An append-only file of JSON lines.  A line is written before each call (what it may cost at most) and after it (what it
did cost), so that a cap holds across kills: a call that was in flight when its process died counts at its worst case,
unless its reply reached the store.  Several processes of one run may write at once; each reads the others' lines
before it reserves.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from kopt.llm.reply import NoReplyReason, Usage
from kopt.llm.request import Request
from kopt.llm.table import Price
from kopt.model.base import Value


class Reserved(Value):
    """A call is about to be made."""

    event: Literal["reserved"] = "reserved"
    call: str
    """Name of the call, unique."""
    request: str
    """Digest of the request."""
    label: str
    """What it is for, e.g. a slot's name."""
    model: str
    dollars: float
    """The most it can cost."""


class Settled(Value):
    """A call brought a reply, which is in the store."""

    event: Literal["settled"] = "settled"
    call: str
    request: str
    label: str
    model: str
    status: str
    usage: Usage
    saved: float = 0.0
    """What prompt caching saved, US dollars; negative when it cost more."""
    seconds: float = 0.0
    """From the start of the call to its last token."""


class Released(Value):
    """A call brought no reply."""

    event: Literal["released"] = "released"
    call: str
    request: str
    label: str
    model: str
    lack: NoReplyReason
    billed: bool
    """The provider may charge for it."""
    dollars: float
    """Estimate of what it charges; 0 when it was turned away."""
    seconds: float = 0.0


class Reused(Value):
    """A reply was known and nothing was asked."""

    event: Literal["reused"] = "reused"
    request: str
    label: str
    """The first that it was known for."""
    model: str
    usage: Usage
    """Tokens of the reply, and what it had cost when it was made."""


Line = Annotated[Reserved | Settled | Released | Reused, Field(discriminator="event")]
_LINE: TypeAdapter[Reserved | Settled | Released | Reused] = TypeAdapter(Line)


class Budget(Value):
    """Hard caps of a run; none: no cap."""

    usd: float | None = Field(default=None, ge=0)
    """Most US dollars that the run may spend on replies."""
    calls: int | None = Field(default=None, ge=0)
    """Most calls that the run may make; calls that a server turned away do not count."""


class Bill(Value):
    """Sums over calls."""

    calls: int = 0
    """Calls that brought a reply."""
    usage: Usage = Usage()
    """Tokens and dollars of those."""
    lost: int = 0
    """Calls that were begun, or were in flight at a kill, and brought no reply."""
    lost_dollars: float = 0.0
    """Estimate of what those cost."""
    turned_away: int = 0
    """Calls that a server turned away (rate limits, errors) at no cost."""
    reused: int = 0
    """Replies that were known already."""
    reused_dollars: float = 0.0
    """What those had cost when they were made."""
    saved_dollars: float = 0.0
    """What prompt caching saved."""

    @property
    def dollars(self) -> float:
        """All that the calls cost, losses included."""
        return self.usage.dollars + self.lost_dollars

    def __add__(self, other: Bill) -> Bill:
        return Bill(**{name: getattr(self, name) + getattr(other, name) for name in Bill.model_fields})


class Ledger:
    """A run's ledger file with its caps; cheap to open, safe for several processes."""

    def __init__(self, path: Path, budget: Budget | None = None) -> None:
        self.path = path
        self.budget = budget or Budget()
        self._read_to = 0
        self._calls: dict[str, Reserved | Settled | Released] = {}
        self._reused: dict[str, Reused] = {}
        self._paid: set[str] = set()
        self._committed = 0.0
        self._begun = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(path.name + ".lock"), timeout=600)

    def reserve(self, request: Request, label: str, price: Price) -> Reserved | None:
        """Reserve the worst case of one call, or None when it could pass a cap."""
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
        """Replace a reservation by what the reply cost.  Its reply must be in the store already."""
        given = call.model_dump(exclude={"event", "dollars"})
        self.write(Settled(**given, status=status, usage=usage, saved=saved, seconds=round(seconds, 3)))

    def enter(self, request: Request, label: str, status: str, usage: Usage, *, saved: float = 0.0) -> None:
        """Note a reply that came without a call of ours: through an exchange folder or a batch."""
        given = {"call": uuid.uuid4().hex, "request": request.digest, "label": label, "model": request.model}
        self.write(Settled(**given, status=status, usage=usage, saved=saved))

    def release(
        self, call: Reserved, lack: NoReplyReason, *, billed: bool, dollars: float, seconds: float = 0.0
    ) -> None:
        """Replace a reservation by what a failed call is estimated to cost."""
        given = call.model_dump(exclude={"event", "dollars"})
        seconds = round(seconds, 3)
        self.write(Released(**given, lack=lack, billed=billed, dollars=min(dollars, call.dollars), seconds=seconds))

    def reuse(self, request: Request, label: str, usage: Usage) -> None:
        """Note that a reply was known; once for a request, as it is paid once, and not when this run paid for it."""
        with self._lock:
            self._catch_up()
            if request.digest not in self._reused and request.digest not in self._paid:
                self._append(Reused(request=request.digest, label=label, model=request.model, usage=usage))

    def recover(self, known: Callable[[str], tuple[str, Usage] | None]) -> None:
        """Settle what a killed process had reserved and whose reply reached the store.

        Args:
            known: status and usage of a request's stored reply, by the request's digest.
        """
        self.refresh()
        for call in self.outstanding():
            found = known(call.request)
            if found is not None and call.request not in self._paid:
                self.settle(call, *found)

    def write(self, line: Reserved | Settled | Released | Reused) -> None:
        """Append one line."""
        with self._lock:
            self._catch_up()
            self._append(line)

    def refresh(self) -> None:
        """Read what other processes wrote."""
        with self._lock:
            self._catch_up()

    def outstanding(self) -> list[Reserved]:
        """Reservations without an end: in flight, or lost with a killed process."""
        return [line for line in self._calls.values() if isinstance(line, Reserved)]

    def lines(self) -> list[Reserved | Settled | Released | Reused]:
        """The last line of every call, and the reuses, in the order in which they began."""
        return [*self._calls.values(), *self._reused.values()]

    def bill(self) -> Bill:
        """Sums over the run."""
        return sum((_bill(line) for line in self.lines()), Bill())

    def bills(self, group: Callable[[str, str], str]) -> Mapping[str, Bill]:
        """Sums by group, sorted by name; `group` makes the name from a line's label and model."""
        sums: dict[str, Bill] = {}
        for line in self.lines():
            name = group(line.label, line.model)
            sums[name] = sums.get(name, Bill()) + _bill(line)
        return dict(sorted(sums.items()))

    def _fits(self, dollars: float) -> bool:
        if self.budget.calls is not None and self._begun + 1 > self.budget.calls:
            return False
        return self.budget.usd is None or self._committed + dollars <= self.budget.usd

    def _catch_up(self) -> None:
        """Read the lines since the last look; a last line that a kill tore is ended, so that it is passed over."""
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

    def _remember(self, line: Reserved | Settled | Released | Reused) -> None:
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
        """Keep the sums that the caps are checked against, so that a reservation does not add up the whole file."""
        bill = _bill(line)
        self._committed += sign * bill.dollars
        self._begun += sign * (bill.calls + bill.lost)

    def _append(self, line: Reserved | Settled | Released | Reused) -> None:
        content = (json.dumps(line.model_dump(mode="json"), sort_keys=True) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, content)
        finally:
            os.close(handle)
        self._read_to += len(content)
        self._remember(line)


def _bill(line: Reserved | Settled | Released | Reused) -> Bill:
    if isinstance(line, Settled):
        return Bill(calls=1, usage=line.usage, saved_dollars=line.saved)
    if isinstance(line, Reused):
        return Bill(reused=1, reused_dollars=line.usage.dollars)
    if isinstance(line, Reserved) or line.billed:
        return Bill(lost=1, lost_dollars=line.dollars)
    return Bill(turned_away=1)
