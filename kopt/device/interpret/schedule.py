"""Run the programs of a launch one after the other, and in turns where one waits for another.

A program that spins (an atomic operation or a volatile load gives the same value again and again) lets another program
go on.  From then on every program that starts has a thread of its own, and one thread runs at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

MOST_TURNS = 200
"""Times that all programs may spin in turn, with none of them going on, before they are taken to wait forever."""
STACK_BYTES = 1 << 20
"""Stack of a program's thread."""


class Deadlock(Exception):
    """Programs of a launch wait for each other, and none goes on."""


class Turn:
    """One program's place in the schedule of a launch."""

    def __init__(self, schedule: Schedule, number: int) -> None:
        self._schedule, self._number = schedule, number

    def wait(self) -> None:
        """Let another program go on, and come back when it is this one's turn.

        Raises:
            Deadlock: no program goes on.
        """
        self._schedule.wait(self._number)

    def note_progress(self) -> None:
        """Note that what the program waited for has happened."""
        self._schedule.note_progress()


class Schedule:
    """The programs of one launch."""

    def __init__(self, programs: Sequence[Callable[[Turn], None]]) -> None:
        """Take the programs; each is called with its turn."""
        self._programs = programs
        self._next = 0
        """Number of the first program that has not started."""
        self._turns: dict[int, threading.Semaphore] = {}
        """By program that has waited, what lets it go on; programs run in threads once there is one."""
        self._waiting: list[int] = []
        """Started programs that are not finished and do not run, in the order of their turns."""
        self._idle = 0
        """Times that a program has waited since one went on or ended."""
        self._failure: BaseException | None = None
        """The first exception of a program in a thread."""
        self._ended = threading.Semaphore(0)
        """Is released when no program is left."""

    def run(self) -> None:
        """Run all programs.

        Raises:
            Deadlock: programs wait for each other.
            Exception: whatever a program raises.
        """
        while self._next < len(self._programs) and not self._turns:
            self._run_program(self._take())
        if self._turns:
            self._hand_on()
            self._ended.acquire()
        if self._failure is not None:
            raise self._failure

    def _take(self) -> int:
        """Return the number of the next program to start."""
        self._next += 1
        return self._next - 1

    def _run_program(self, number: int) -> None:
        self._programs[number](Turn(self, number))
        self._idle = 0

    def note_progress(self) -> None:
        """Note that a program has stopped waiting."""
        self._idle = 0

    def wait(self, number: int) -> None:
        """Let another program than this one go on, and come back when it is this one's turn.

        Raises:
            Deadlock: no program goes on.
        """
        if self._next >= len(self._programs) and not self._waiting:
            raise Deadlock("a program waits for what no other program does: a lock or flag is never set")
        self._idle += 1
        if self._idle > MOST_TURNS * len(self._programs):
            raise Deadlock("the programs of the launch wait for each other, and none goes on")
        self._waiting.append(number)
        turn = self._turns.setdefault(number, threading.Semaphore(0))
        self._hand_on()
        turn.acquire()
        if self._failure is not None:
            raise self._failure

    def _hand_on(self) -> None:
        """Start a program that has not run, else let the next waiting one go on; end the schedule when none is left."""
        if self._failure is None and self._next < len(self._programs):
            number = self._take()
            before = threading.stack_size(STACK_BYTES)
            threading.Thread(target=self._in_thread, args=(number,), daemon=True).start()
            threading.stack_size(before)
        elif self._waiting:
            self._turns[self._waiting.pop(0)].release()
        else:
            self._ended.release()

    def _in_thread(self, number: int) -> None:
        try:
            self._run_program(number)
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._failure = self._failure or error
        self._hand_on()
