"""The one tree of errors that kopt raises; each says what is wrong, where, and what to do.

A candidate that fails is not an error but data (`kopt.model`); these are for bad input and broken machines.
"""

import difflib
from collections.abc import Iterable


class KoptError(Exception):
    """Anything kopt raises on purpose; the message is one line for the user."""


class ConfigError(KoptError):
    """A setting is unknown, malformed or contradicts another."""


class ProblemError(KoptError):
    """A problem folder is incomplete, or its reference or seed kernel is unusable."""


class TaxonomyError(KoptError):
    """The technique taxonomy is malformed."""


class StoreError(KoptError):
    """The store cannot be read or written."""


class CorruptArtifact(StoreError):
    """A stored file does not match its digest; it has been set aside."""


class TableError(KoptError):
    """A table on disk does not have the schema that its reader expects."""


class WorkerDied(KoptError):
    """A trusted worker process of ours ended without an answer."""


class DeviceError(KoptError):
    """No usable device, or the device description is wrong."""


class NoReply(KoptError):
    """A reply that the run cannot go on without is pending, was not recorded, or lacks a key or credit."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: the known one that is most like it, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
