"""Define the one tree of errors that kopt raises; each message says what is wrong, where, and what to do.

A candidate that fails is not an error but data (`kopt.model`); errors are for bad input and broken machines.
"""

import difflib
import errno
from collections.abc import Iterable

from kopt.neutral import one_line

LONGEST_LINE = 4000
"""Most characters of the line of an error."""


class KoptError(Exception):
    """Base of every error that kopt raises on purpose; the message is one line for the user."""


class ConfigError(KoptError):
    """A setting is unknown, malformed, or contradicts another setting."""


class ProblemError(KoptError):
    """A problem folder is incomplete, or its reference or seed kernel is unusable."""


class SeedError(KoptError):
    """No seed kernel can be made from a reference."""


class TaxonomyError(KoptError):
    """The technique taxonomy is malformed."""


class StoreError(KoptError):
    """The store cannot be read or written."""


class CorruptArtifact(StoreError):
    """A file of kopt's own is torn, altered, or of another schema."""


class TableError(KoptError):
    """A table on disk is torn, has another schema than its reader expects, or has a row that contradicts itself."""


class WorkerDied(KoptError):
    """A process that runs kopt's own code ended without an answer."""


class NotDone(WorkerDied):
    """A process was ended because it took longer than its limit."""


class DeviceError(KoptError):
    """There is no usable device, or the description of a device is wrong."""


class NothingPasses(DeviceError):
    """No kernel passes when it is verified once more at the end."""


class NoReply(KoptError):
    """A reply that the run cannot go on without is pending, was not recorded, or needs a key or credit."""


class NotRecorded(KoptError):
    """A replay needs a measurement that its recording does not hold."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the known name most like an unknown one; empty when none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EDQUOT: "free some space there, or ask for a larger quota",
    errno.EROFS: "it is mounted read-only: name another folder",
    errno.EACCES: "change its permissions, or name another folder",
    errno.EPERM: "change its permissions, or name another folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free some memory",
}
"""What to do about an error of the operating system, by its number."""


def system_error(error: OSError) -> str:
    """Describe in one line an error of the operating system: what, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}{f': {remedy}, then run the same command again' if remedy else ''}"


def error_line(error: Exception) -> str:
    """Write the one line, neutral for a terminal, with which a command, a job or a search ends at an error.

    A `KoptError` and an error of the operating system say what to do; any other is a fault of kopt, named by its class.
    """
    if isinstance(error, KoptError):
        text = str(error)
    else:
        text = system_error(error) if isinstance(error, OSError) else f"unexpected {type(error).__name__}: {error}"
    return f"kopt: error: {one_line(text, LONGEST_LINE)}"
