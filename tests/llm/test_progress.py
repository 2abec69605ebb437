"""Progress as people see it: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re

import pytest

from kopt.llm.progress import CLEAR_REST, Progress, bar, progress_bar, progress_shown

HALF = Progress(total=4, answered=1, reused=1, dollars=0.25)
DONE = HALF.model_copy(update={"answered": 2, "unanswered": 1})


@pytest.fixture
def terminal():
    """A terminal's two ends: where the user looks, and what a program writes to."""
    seen, written = pty.openpty()
    with os.fdopen(written, "w") as stream:
        yield seen, stream
    os.close(seen)


def test_a_terminal_gets_a_bar_that_draws_over_itself_and_ends_its_line(terminal):
    seen, stream = terminal
    with progress_shown(stream) as on_progress:
        on_progress(HALF)
        on_progress(DONE)
    stream.flush()
    text = ""
    while not text.endswith("\n"):
        text += os.read(seen, 10_000).decode()
    assert text.startswith("\r[")
    assert text.endswith(CLEAR_REST + "\r\n")
    assert text.count("\n") == 1
    assert re.search(r"\] 4/4 replies, \$0\.25, \d+ s, 1 missing", text)


def test_a_log_gets_lines_without_a_bar():
    stream = io.StringIO()
    with progress_shown(stream) as on_progress:
        on_progress(DONE)
    assert stream.getvalue() == "replies 4/4: 2 answered, 1 known, 0 unusable, 1 missing, 0 retries, $0.25\n"


def test_the_bar_is_as_full_as_what_is_done():
    assert bar(HALF, 9.6) == "[############............] 2/4 replies, $0.25, 10 s"
    assert bar(DONE, 0).startswith(f"[{'#' * 24}] 4/4 ")
    assert bar(Progress(total=0), 0).startswith(f"[{'.' * 24}] 0/0 ")


def test_a_bar_never_wraps_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = io.StringIO()
    with progress_bar(stream) as on_progress:
        on_progress(DONE)
    assert len(stream.getvalue().removeprefix("\r").removesuffix(CLEAR_REST + "\n")) == 29


def test_where_nothing_is_asked_nothing_is_shown():
    stream = io.StringIO()
    with progress_bar(stream):
        pass
    assert stream.getvalue() == ""
