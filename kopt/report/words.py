"""Explain the words of the report that kopt uses for its own ideas: those that a run's page has, one line each."""

from __future__ import annotations

from collections.abc import Iterator

from kopt.report.record import RunRecord

JUDGES = {
    "cuda": "kernels were verified and timed on a GPU, each in a process that is confined",
    "interpret": "no GPU: kernels were verified in kopt's interpreter, and times are estimated from the compiled code",
    "recorded": "nothing was judged here: builds, verdicts and times are those of a recorded search",
    "dry": "nothing was built or judged, and times are made up",
    "dry_gpu": "nothing was built or judged, and times are made up; jobs asked for GPUs",
}
"""Explains each judge."""

DRAWS = {
    "given": "as get_inputs of the reference makes them",
    "normal": "normal numbers of the given inputs' scale",
    "integer": "small whole numbers times a power of two: sums are exact, and there are ties",
    "range": "magnitudes over many powers of two: one element may outweigh all others",
    "onehot": "one element in each row, the others zero",
    "large": "so large that float32 cannot hold their exponentials",
    "negative": "rows of large negative numbers, of negative ones near zero, and of positive ones",
    "tiny": "so small that small constants matter, such as the one that a norm adds before it divides",
    "equal": "rows of equal elements",
    "zeros": "rows of zeros beside normal ones",
    "extreme": "near the largest and the smallest numbers of the type",
}
"""Explains each kind of inputs that are drawn for a check."""

GENERAL = {
    "r2a0s3": "the name of a candidate: round 2, attempt 0 (1, 2, ... are repairs), slot 3",
    "seed kernel": "the kernel that the search starts from, in round 0",
    "proposer": "what made a candidate: a language model, or kopt's rewriter",
    "parent": "a kernel that a selection kept; the candidates of the next round are made of it",
    "pool": "what a selection chooses from: the parents before and this round's correct kernels; 9 → 8 means that "
    "equal ones were merged",
    "rank": "the place of a parent among those that the selection of its round kept, from 1",
    "duplicate": "a candidate that compiles to the same code as an earlier one, from a source that differs in names, "
    "layout and comments at most; it shares the outcome of the earlier one and is not judged again",
    "repair": "a candidate that failed goes back to its proposer with the error; a duplicate of a failed one does not, "
    "and a reply without a usable kernel goes back once",
    "in its words": "what a proposer says of its change; nobody checks these words, and build and source beside them "
    "are facts",
    "timed, hidden, small workload": "a choice of the problem's sizes: kernels are timed on a timed workload; on a "
    "hidden one, whose sizes proposers are not told, and on a small one they are only verified, without a GPU on small "
    "ones alone",
    "correct": "equal to the reference in every check of the judge",
    "win": "a correct kernel that is faster than its parent: estimated times differ by more than 10 %, intervals of "
    "measured ones do not overlap",
    "cluster": "the kernels that use the same techniques",
    "roofline floor": "the time in which the device could move the fewest bytes, or do the operations: at the rates "
    "that were measured on it, else those of its description, 4 % higher for memory and 8 % for products, since "
    "kernels can be a little faster than a copy; a share of the roofline is this floor over a kernel's time",
    "direction, asked to fix": "one way to make a parent faster, which a diagnosis names; each candidate is asked to "
    "follow one",
    "check": "one comparison of a kernel's results with the reference's in float64; the largest error must stay below "
    "what is allowed, which follows from the reference's own rounding",
}
"""Explains the words that every page has."""


def glossary(record: RunRecord) -> list[tuple[str, str]]:
    """Explain the words of a run's page."""
    return [*GENERAL.items(), *_of_run(record)]


def _of_run(record: RunRecord) -> Iterator[tuple[str, str]]:
    yield f"judge {record.judge}", JUDGES.get(record.judge, "")
    for name, words in record.proposers.items():
        if words:
            yield f"proposer {name}", words
    drawn = {check.distribution.partition(" ")[0] for kernel in record.kernels for check in kernel.checks}
    for kind, words in DRAWS.items():
        if kind in drawn:
            yield f"inputs {kind}", words
