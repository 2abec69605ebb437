"""Count what processes use of memory, of all kinds together, and what a folder holds, however deep it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_COUNTED = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)


def memory_used(pids: Iterable[int]) -> int:
    """Return the bytes of memory of processes: private, shared and swapped; what several share is divided among them.

    This takes 20 ms for a process that has imported torch.
    """
    total = 0
    for pid in pids:
        with suppress(OSError):  # it has ended
            total += sum(map(int, _COUNTED.findall(Path("/proc", str(pid), "smaps_rollup").read_bytes())))
    return total << 10


def resident(pids: Iterable[int]) -> int:
    """Return an upper bound of the resident memory of processes, bytes; what several share counts several times."""
    pages = 0
    for pid in pids:
        with suppress(OSError, IndexError):  # it has ended
            pages += int(Path("/proc", str(pid), "statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_fuller(folder: Path, most_bytes: int, most_files: int) -> bool:
    """Return whether a folder holds more than so many bytes or files, links not followed; looks no further than that.

    The folders in it are opened one below the other, since a path of thousands of names is too long for the system.
    """
    size = files = 0
    with suppress(OSError):
        pending = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)]
        try:
            while pending:
                place = pending.pop()
                try:
                    with suppress(OSError), os.scandir(place) as entries:
                        for entry in entries:
                            files += 1
                            size += _bytes(entry)
                            if size > most_bytes or files > most_files or len(pending) > MOST_OPEN:
                                return True
                            if entry.is_dir(follow_symlinks=False):
                                with suppress(OSError):
                                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                                    pending.append(os.open(entry.name, flags, dir_fd=place))
                finally:
                    os.close(place)
        finally:
            for place in pending:
                os.close(place)
    return False


MOST_OPEN = 512
"""Most folders side by side that are looked into; a folder with more counts as too full."""


def _bytes(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_blocks * 512
    return 0
