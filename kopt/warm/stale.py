"""Notice that the code which a parent has imported is no longer the code that a job would import."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from kopt.warm.place import ROOT

_State = tuple[int, int] | None


@dataclass(frozen=True)
class Files:
    """States of files and folders, by path: date and size, None for one that is not there."""

    states: dict[str, _State]

    @classmethod
    def imported(cls, begun: int, earlier: Files | None = None) -> Files:
        """Note the files of the checkout that this process has imported, and the folders in which modules are found.

        Args:
            begun: moment before the first import, ns since 1970; a file that is newer may have changed meanwhile.
            earlier: what was noted when this process had imported less.
        """
        known = earlier.states if earlier else {}
        states = known | {path: _state(path) for path in _paths() if path not in known}
        for path, state in states.items():
            if path not in known and path.endswith(".py") and state and begun <= state[0] <= time.time_ns():
                states[path] = None
        return cls(states)

    def changed(self) -> bool:
        """Return whether any of the files or folders is not as it was."""
        return any(_state(path) != state for path, state in self.states.items())


def _paths() -> Iterator[str]:
    """Yield the files of the checkout's modules, their folders, and the folders of installed packages."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and file.startswith(ROOT + os.sep):
            yield file
            yield os.path.dirname(file)
    yield from (path for path in sys.path if path)
    yield sys.executable


def _state(path: str) -> _State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
