"""Run a rule's script with its words, and end in silence at Ctrl-C, also while the script still imports.

python -P workflow/start.py workflow/scripts/select.py name=value ...

Snakemake says in one line that a search was stopped; a traceback of every job that ran would bury that line.
"""

from __future__ import annotations

import runpy
import signal
import sys
from types import TracebackType


def main() -> None:
    """Run the script that the first word names."""
    sys.excepthook = _unless_stopped
    sys.argv = sys.argv[1:]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:  # the work is done or given up; Python's own end would tell of an interruption
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unless_stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
