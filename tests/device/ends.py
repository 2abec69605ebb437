"""Wait for the end of a process that was killed."""

import time
from pathlib import Path


def ends(pid: int, seconds: float = 10.0) -> bool:
    """Wait up to `seconds`; return whether the process ended.  A zombie, which its parent has not reaped, has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
