"""A search in a terminal keeps a line that says how far it is, and leaves nothing of the line."""

import os
import pty

import pytest

from kopt.neutral import ERASE

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("dag")]


def in_a_terminal(project, *config):
    """Run Snakemake in a pseudo-terminal; return its status and all that it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.folder)
        command = project.command(*config, full=False)
        os.execvpe(command[0], command, project.environment() | {"TERM": "xterm", "COLUMNS": "100"})
    written = b""
    try:
        while part := os.read(terminal, 1 << 16):
            written += part
    except OSError:  # the other end was closed
        pass
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


def screen(written):
    """Return what stands on the lines of a terminal at the end."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            rest = part.removeprefix("\x1b[K")
            shown = rest if rest != part or len(rest) >= len(shown) else rest + shown[len(rest) :]
        lines.append(shown)
    return lines


def test_the_line_tells_rounds_and_steps_and_is_gone_at_the_end(project):
    status, written = in_a_terminal(project, *project.DRY, "rounds=1")
    assert status == 0, written
    live = {part.strip() for part in written.split(ERASE) if part.startswith("round ")}
    assert any("round 1/1 · " in line and "/" in line.partition(" steps")[0] for line in live), live
    assert all("\n" not in line and len(line) < 100 for line in live)
    lines = screen(written)
    assert not any(line.startswith("round 1/1 · ") for line in lines)
    assert any(line.startswith("R1: 4/4 ok") for line in lines)
    assert any(line.startswith("report ") and line.endswith("report.html") for line in lines)


def test_without_a_terminal_there_is_no_line(finished):
    assert "\x1b" not in finished.output
    assert "round 1/2 · " not in finished.output
