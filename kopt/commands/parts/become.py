"""Become another program, which then has this process's signals and exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def become(program: Sequence[str], *, folder: Path | None = None, stdout_is_taken: bool = False) -> NoReturn:
    """Replace this process by a program.

    Args:
        program: path of the program, and its words.
        folder: the folder in which the program runs; None: this one.
        stdout_is_taken: whether stdout holds an answer already, so that the program writes to stderr.
    """
    sys.stdout.flush()
    if stdout_is_taken:
        os.dup2(2, 1)
    if folder is not None:
        os.chdir(folder)
    os.execve(program[0], [*program], os.environ)
