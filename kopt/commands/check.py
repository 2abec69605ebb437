"""`kopt check`: check whether a problem can be judged, and estimate what judging costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, ROOT, AsJson, DeviceName, ProblemName, uses_gpu
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.neutral import ERASE, one_line

if TYPE_CHECKING:
    from kopt.model.device import Device
    from kopt.model.problem import Problem
    from kopt.preflight.check_lines import Line, Report

PLACE = Place(Panel.BRING, 2)

MOST_DOING = 70
"""Most characters of the line that says what a check is doing."""


def run(problem: ProblemName, device: DeviceName = DEFAULTS.device, json: AsJson = False) -> int:
    """Check whether a problem can be judged, and what that costs.

    Print a line for each requirement as soon as it is known; the status is 1 where the problem cannot be judged.  Of a
    problem without a kernel of its own a seed kernel is made, which a search finds in the store.

    JSON: `lines` with `name`, `state` (`ok`, `fails`, `note`) and `text`; `judgeable`; and `searchable`, false also
    where a search has no seed kernel to start from.

    Examples:
        kopt check softmax
        kopt check ./my_problem --json
    """
    from kopt.preflight.check_lines import Line, end_in_words
    from kopt.preflight.problem_check import PREPARED
    from kopt.problem import folder
    from kopt.sandbox.caged_call import CAGED
    from kopt.sandbox.fresh import sharing_process

    target = load_device(device, ROOT)
    place = folder.find(problem, ROOT / Config().problems)
    files = folder.files(place) if place.exists() else ()
    shown = _Shown(as_json=json)
    with sharing_process(CAGED, PREPARED), shown.ending():
        try:
            shown.doing("reading the problem")
            loaded = folder.load(place)
            shown.add(Line(name="files", state="ok", text=", ".join(file.name for file in files)))
            _look(loaded, place, target, device, shown)
        except ProblemError as error:
            if not files:
                raise
            name = "check" if shown.lines else "files"
            shown.add(Line(name=name, state="fails", text=str(error)))
    report = shown.report()
    answer = report.model_dump() | {"judgeable": report.judgeable, "searchable": report.searchable}
    print_answer(answer, [end_in_words(report, place.stem)], as_json=json)
    return 0 if report.judgeable else 1


def _look(problem: Problem, place: Path, target: Device, device: str, shown: _Shown) -> None:
    """Look at a problem in the cage, and try to make a seed where it has none.

    Raises:
        ProblemError: what is looked at ends the cage.
    """
    from kopt.jobs.made_seed import device_to_write_for
    from kopt.preflight.check_lines import Report
    from kopt.preflight.problem_check import CHECK_S, examined
    from kopt.preflight.seed_trial import seed_line
    from kopt.problem import folder
    from kopt.problem.caged import caged_heard

    known = len(shown.lines)
    report = caged_heard(
        shown.hear, problem.name, CHECK_S, Report, examined, problem, target, folder.reference_file(place)
    )
    for line in report.lines[len(shown.lines) - known :]:
        shown.add(line)
    if report.judgeable and not problem.has_seed:
        shown.doing("making a seed kernel of the reference")
        writes_for = device_to_write_for(device, ROOT, on_gpu=uses_gpu("auto"))
        shown.add(seed_line(problem, writes_for, Path(Config().store).absolute(), place))


class _Shown:
    """Show the lines of a check as they come, and on a terminal what it is doing."""

    def __init__(self, *, as_json: bool) -> None:
        self.lines: list[Line] = []
        self._as_json = as_json
        terminal = sys.__stderr__
        self._terminal = terminal if terminal is not None and terminal.isatty() else None

    def doing(self, what: str) -> None:
        """Write over the terminal's last line what the check is doing."""
        if self._terminal is not None:
            self._terminal.write(f"{ERASE}kopt: {one_line(what, MOST_DOING)} ...")
            self._terminal.flush()

    def add(self, line: Line) -> None:
        """Add a line that is known."""
        from kopt.preflight.check_lines import line_in_words

        self.lines.append(line)
        if not self._as_json:
            self._erase()
            print(line_in_words(line), flush=True)

    def hear(self, text: str) -> None:
        """Take what the check tells from the cage; what is no such text is left out."""
        from kopt.preflight.check_lines import Told

        with suppress(ValueError):
            told = Told.model_validate_json(text)
            if told.line is not None:
                self.add(told.line)
            if told.doing:
                self.doing(f"checking: {told.doing}")

    def report(self) -> Report:
        """Return all lines."""
        from kopt.preflight.check_lines import Report

        return Report(lines=tuple(self.lines))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Erase at the end what the check was doing."""
        try:
            yield
        finally:
            self._erase()

    def _erase(self) -> None:
        if self._terminal is not None:
            self._terminal.write(ERASE)
            self._terminal.flush()
