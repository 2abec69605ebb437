"""Name in plain words what came of a candidate, and count the ways in which candidates failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kopt.model.build import Phase
from kopt.model.kernel import reason_code
from kopt.model.trial import Trial

CORRECT = "correct"
WRONG = "wrong result"
NOTHING = "no proposal"
SCREENED = "not judged"

WORDS: dict[str, str] = {
    Phase.SYNTAX: "syntax error",
    Phase.IMPORT: "import error",
    Phase.ENTRY: "no entry point",
    Phase.TRACE: "error in the call",
    Phase.COMPILE: "compile error",
    Phase.RESOURCES: "too many resources",
    Phase.CONTRACT: "wrong form of output",
    Phase.FALLBACK: "left to torch",
    Phase.TIMEOUT: "over the time limit",
    Phase.CRASH: "crash",
    Phase.INTERPRET: "error in a launch",
    Phase.LAUNCH: "launch failed",
    Phase.MUTATION: "input changed",
    Phase.ROOFLINE: "faster than possible",
    Phase.REUSE: "slow on new inputs",
}
"""Names each phase of failure by what went wrong in it."""

MEANING: dict[str, str] = {
    Phase.SYNTAX: "the reply holds code that is no Python",
    Phase.IMPORT: "the source imports or calls what is not allowed, or importing the module raised",
    Phase.ENTRY: "no entry point that takes the problem's inputs",
    Phase.TRACE: "the entry point raised before its launches were known",
    Phase.COMPILE: "Triton refused to compile it",
    Phase.RESOURCES: "more shared memory, threads or registers than the device has",
    Phase.CONTRACT: "wrong type, shape, dtype or device of the output",
    Phase.FALLBACK: "no Triton launch, or torch computes part of the result",
    Phase.TIMEOUT: "over the time limit",
    Phase.CRASH: "the process died",
    Phase.INTERPRET: "kopt's interpreter stopped a launch, e.g. for an address outside of a tensor, a race, a deadlock",
    Phase.LAUNCH: "a launch failed on the GPU, or would leave its tensors there",
    Phase.MUTATION: "an input was changed",
    Phase.ROOFLINE: "a time below the physical floor, or work left out at full size: refused",
    Phase.REUSE: "slower on inputs that it had not been called with before, refused",
    WRONG: "ran, and gave a wrong result",
    NOTHING: "the proposer found nothing new to propose",
}
"""Explains each kind of failure: a phase, or one of the names above."""

LACKING: dict[str, tuple[str, str]] = {
    "syntax": (WORDS[Phase.SYNTAX], MEANING[Phase.SYNTAX]),
    "no_entry": (WORDS[Phase.ENTRY], MEANING[Phase.ENTRY]),
    "no_code": ("no code", "the reply holds no code"),
    "refused": ("refused", "the model refused to answer"),
    "empty": ("empty reply", "the reply was empty, or reasoning alone"),
    "truncated": ("reply cut off", "the reply was cut off before its code was whole"),
    "edit": ("edit does not fit", "the reply edits lines that the kernel does not have"),
    "unchanged": ("unchanged", "the reply gives the kernel back that it was to improve"),
}
"""Name and meaning of why a reply holds no kernel, by the code of `kopt.llm.text.extract.NoKernel`."""

UNANSWERED = ("no reply", "no reply came: the budget, the key, limits or the connection of a model")
"""Name and meaning of a candidate whose proposer was asked and did not reply."""

NO_REPLY = ("unanswered", "budget", "key", "rejected", "rate", "server", "connection", "deadline", "protocol", "quota",
            "missing", "defect")  # fmt: skip
"""Codes of `kopt.llm.reply.NoReplyReason`, and the code of an unanswered request."""

MORE_EXAMPLES = 4
"""Most examples of a kind of failure beside the first."""


class Kind(NamedTuple):
    """One kind of outcome of a candidate."""

    words: str
    meaning: str
    failed: bool


class FailureKind(NamedTuple):
    """One kind of failure, how often it happened, and its first examples."""

    kind: str
    meaning: str
    number: int
    different: int
    """Sources that differ in more than names and comments."""
    example: Trial
    others: tuple[Trial, ...] = ()
    """Further examples, few."""


def kind_of(trial: Trial) -> Kind:
    """Name what came of a candidate; a duplicate shares the kind of the candidate that it equals."""
    if trial.status == "none":
        code = reason_code(trial.reason)
        words, meaning = LACKING.get(code) or (UNANSWERED if code in NO_REPLY else (NOTHING, MEANING[NOTHING]))
        return Kind(words, meaning, failed=True)
    if trial.phase:
        return Kind(phase_words(trial.phase), MEANING.get(trial.phase, ""), failed=True)
    if trial.time_ms is not None or trial.verdict == "passed":
        return Kind(CORRECT, "equal to the reference in every check", failed=False)
    if trial.verdict == "screened":
        return Kind(SCREENED, "its estimate is clearly above the best kernel's", failed=False)
    if trial.verdict in ("incorrect", "duplicate"):
        return Kind(WRONG, MEANING[WRONG], failed=True)
    return Kind("failed" if trial.verdict == "failed" else SCREENED, "", failed=trial.verdict == "failed")


def phase_words(phase: str) -> str:
    """Name a phase of failure by what went wrong in it."""
    return WORDS.get(phase, phase)


def outcome(trial: Trial) -> str:
    """Name what came of a candidate in few words: `correct`, `syntax error`, `duplicate of r1a0s3, correct`."""
    words = kind_of(trial).words
    return f"duplicate of {trial.duplicate_of}, {words}" if trial.duplicate_of else words


def failures(trials: Sequence[Trial], same_source: Mapping[str, str] | None = None) -> list[FailureKind]:
    """Count failures by kind, most frequent first; a duplicate of a failed kernel does not count again.

    Args:
        trials: all trials of the run.
        same_source: by its name, the first candidate whose source a candidate's equals but for names and comments.
    """
    kinds: dict[Kind, list[Trial]] = {}
    for trial in trials:
        kind = kind_of(trial)
        if kind.failed and not trial.duplicate_of and trial.status != "skipped":
            kinds.setdefault(kind, []).append(trial)
    same = same_source or {}
    counted = [
        FailureKind(
            kind=kind.words, meaning=kind.meaning, number=len(group),
            different=len({same.get(trial.name, trial.name) for trial in group}), example=group[0],
            others=tuple(group[1 : 1 + MORE_EXAMPLES]),
        )
        for kind, group in kinds.items()
    ]  # fmt: skip
    return sorted(counted, key=lambda failure: (-failure.number, failure.kind))
