"""Define the session of one kernel in the interpreter: the interpreter's mode, and its record of calls so far.

The contestant makes one `Session` and hands it to whatever reads or changes it: the patches of Triton, the pretended
device and the guard.  So a session's life is that of the contestant's process, which judges one kernel.  It is handed
on, since the patched functions can close over it, and is no context variable, since a thread that a candidate starts
would find that one empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from kopt.device.build.hostops import Kind
from kopt.device.interpret.interpreted_call import HostStep, InterpretedCall, LaunchStep, fill_with_nan, tensors_in
from kopt.device.interpret.races import Races
from kopt.model.language import Language

Place = Literal["host", "interpreter", "kernel"]
"""Whose Python runs: the candidate's around its launches, the interpreter's own that moves arguments, or a kernel's."""


class OutOfBounds(Exception):
    """A kernel reads or writes outside the tensors that were passed to it."""


class UnwrittenMemory(Exception):
    """A kernel decides by memory that nobody has written."""


class Unsupported(Exception):
    """A kernel uses something that a GPU has and the interpreter lacks."""


@dataclass
class Session:
    """The interpreter's mode for one kernel, and its record of calls so far."""

    language: Language = "triton"
    """Language of the kernel."""
    ghost: bool = False
    """Leave every launch out."""
    other_fill: bool = False
    """Fill new memory with other values than NaN, with which a right output may be full by luck."""
    turn: int = 0
    """Number of the call, from 0: an autotuner takes the configuration of this number, modulo their count."""
    launches: int = 0
    """Launches so far, those left out included."""
    place: Place = "host"
    """Whose Python runs now."""
    call: InterpretedCall | None = None
    """The record of the present call; None when the call is not recorded."""
    races: Races | None = None
    """Watches the accesses of the present launch in a replay; None outside replays."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First address and end of every tensor of the present launch, sorted."""
    given: list[tuple[int, int]] = field(default_factory=list)
    """First address and end of every tensor that the present call was given."""
    asks_for_device: bool = False
    """Whether the candidate has asked for the properties of the device."""
    empty: bool = False
    """Whether a launch of the present call has no programs."""
    further: bool = False
    """Whether a call is made beyond the draws, to run configurations that no call has run."""
    pruned: str = ""
    """Words for the configuration of the present call that the kernel's own pruning leaves out; empty for none."""
    configurations: dict[Any, list[Any]] = field(default_factory=dict)
    """By kernel of an autotuner, configurations that have not run; of those that compute alike only one."""

    @property
    def watched(self) -> bool:
        """Return whether accesses of the present launch are noted."""
        return self.races is not None or self.call is not None

    def note_load(self, program: int, addresses: Any, volatile: bool) -> None:
        """Note a load.

        Raises:
            DataRace: programs race for an element.
        """
        if self.races is not None:
            self.races.load(program, addresses, volatile)

    def note_store(self, program: int, addresses: Any, present: Any, new: Any) -> None:
        """Note a store, with what the elements hold before and afterwards.

        Raises:
            DataRace: programs race for an element.
        """
        if self.races is not None:
            self.races.store(program, addresses, present, new)
        launch = self.call.launch if self.call is not None else None
        if launch is not None:
            low, high = int(addresses.min()), int(addresses.max())
            launch.stored |= {(start, end) for start, end in self.ranges if start <= high and low < end}

    def note_atomic(self, program: int, addresses: Any, acquires: bool, releases: bool) -> None:
        """Note an atomic operation."""
        if self.races is not None:
            self.races.atomic(program, addresses, acquires, releases)
        launch = self.call.launch if self.call is not None else None
        if launch is not None:
            launch.atomic.update(int(address) for address in addresses.reshape(-1))

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Mark code run inside the block as belonging to `place`."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before

    def record_host_operation(self, kind: Kind | None, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Record an operation of torch in the present call; one that computes (`kind` None) is left out.

        `Any`: torch's dispatch passes operations and their arguments untyped.
        """
        if self.call is None:
            return
        if kind == "allocation":
            self.call.allocated += tensors_in(result)
        elif kind in ("fill", "copy"):
            self.call.steps.append(HostStep(func, args, kwargs, result))

    def record_launch(self, run: Callable[[], object]) -> None:
        """Record in the present call that a launch begins, which `run` makes again."""
        if self.call is not None:
            self.call.steps.append(LaunchStep(run))

    def replay(self, call: InterpretedCall) -> None:
        """Repeat a recorded call with whatever its inputs hold now, and watch its launches for data races.

        Raises:
            DataRace: programs of a launch depend on each other.
            Exception: whatever a launch raises on other inputs.
        """
        with self.at("interpreter"):
            for tensor in call.allocated:
                fill_with_nan(tensor)
        for step in call.steps:
            if isinstance(step, LaunchStep):
                self._watch(step)
            else:
                with self.at("interpreter"):
                    step.repeat()

    def _watch(self, step: LaunchStep) -> None:
        self.races = Races(step.observed)
        try:
            step.repeat()
        finally:
            self.races = None
