"""Run Snakemake in forks of one process that has imported it: a start costs a third of what it costs by itself.

The process imports what others wrote, and nothing of kopt: a fork takes kopt from the project that it runs in, as
`python -m snakemake` does.

As a program it reads requests from its standard input, one JSON document a line, and writes the status of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

COMMAND = [sys.executable, "-m", "snakemake"]
"""The first words of a command that a fork can run."""


class Server:
    """The process, which starts with the first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command of Snakemake's; its standard error goes with its output."""
        if self._process is None or self._process.poll() is not None:
            program = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile() as output:
            request = [command[len(COMMAND) :], str(folder), dict(environ), output.name]
            print(json.dumps(request), file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(list(command), status, Path(output.name).read_text())

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def _serve() -> None:
    _import()
    for line in sys.stdin:
        words, folder, environ, output = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(words, folder, environ, output)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _import() -> None:
    """Import what Snakemake and every search import, but no plugin that a project could have its own of."""
    import altair  # noqa: F401
    import jinja2  # noqa: F401
    import pulp  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pydantic  # noqa: F401
    import snakemake.cli  # noqa: F401


def _become(words: list[str], folder: str, environ: Mapping[str, str], output: str) -> NoReturn:
    import runpy

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    file, nothing = os.open(output, os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    sys.path.insert(0, folder)
    sys.argv = ["snakemake", *words]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    raise SystemExit


if __name__ == "__main__":
    _serve()
