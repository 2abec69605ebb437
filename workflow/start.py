"""Run a rule's script with its words, and end in silence at Ctrl-C, also while the script still imports.

python -P workflow/start.py workflow/scripts/select.py name=value ...

Snakemake says in one line that a search was stopped; a traceback of every job that ran would bury that line.

With `KOPT_WARM`, which the setting `warm` sets, a fork of a warm parent (`kopt.warm`) runs the script, so that it need
not import what it needs; where there is none, this process runs the script.
"""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType

TORCH = ("problem", "device", "baseline", "compile", "evaluate", "rank", "profile", "outcome")
"""Scripts that use torch or Triton, unless the backend builds nothing (`KOPT_WARM=light`)."""


def main() -> None:
    """Run the script that the first word names, here or in a fork of a warm parent."""
    sys.excepthook = _unless_stopped
    words = sys.argv[1:]
    if words[0] == "--warm-parent":
        words = _serve(words[1:])
    elif warm := os.environ.get("KOPT_WARM"):
        from kopt.warm.client import end, hand_over
        from kopt.warm.connect import start_ahead

        if words[0] == "--warm-ahead":
            return start_ahead(warm)
        script = os.path.basename(words[0]).removesuffix(".py")
        status = hand_over(words, "torch" if warm == "torch" and script in TORCH else "light")
        if status is not None:
            end(status)
    _run(words)


def _serve(words: list[str]) -> list[str]:
    """Be a warm parent, which has imported what scripts need; return, in the fork that is to run a job, its words."""
    from kopt.warm.parent import serve

    packages = ("kopt.stages", "kopt.backends")
    return serve(words, packages=packages, left_out=("by_model",), load_torch=_load_torch)


def _load_torch() -> None:
    """Load what every job with torch loads anyway, and nothing else, since candidates see it."""
    from importlib import import_module

    import_module("torch")
    import_module("triton")
    from kopt.device.build.build import hash_compiler

    hash_compiler()


def _run(words: list[str]) -> None:
    from runpy import run_path

    sys.argv = words
    try:
        run_path(words[0], run_name="__main__")
    finally:  # the work is done or given up; Python's own end would tell of an interruption
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unless_stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
