"""Whether a process that was killed ends."""

import time
from pathlib import Path


def ends(pid: int, seconds: float = 10.0) -> bool:
    """Wait for it, up to `seconds`; one that nobody reaps stays a zombie, and has ended."""
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
