"""What came of candidates, in plain words, and how often candidates failed in each way."""

import pytest

from kopt.llm.reply import NoReplyReason
from kopt.llm.text.extract import NoKernel
from kopt.model.build import Phase
from kopt.model.kernel import none_reason, reason_code
from kopt.report.outcomes import (
    CORRECT,
    LACKING,
    MEANING,
    NO_REPLY,
    NOTHING,
    WORDS,
    WRONG,
    failures,
    kind_of,
    outcome,
)


def of_kind(record, verdict, /, **fields):
    trial = next(trial for trial in record.trials if trial.verdict == verdict)
    return trial.model_copy(update=fields)


def without_kernel(record, reason):
    return of_kind(record, "failed", status="none", verdict="none", phase="", kernel="", reason=reason)


def test_every_way_to_fail_has_words_and_is_explained():
    assert set(WORDS) == set(Phase)
    assert set(MEANING) == {*Phase, WRONG, NOTHING}
    assert len(set(WORDS.values())) == len(WORDS)
    assert not set(WORDS.values()) & set(map(str, Phase)) - {Phase.CRASH}


def test_every_reason_for_no_kernel_has_words():
    assert set(LACKING) == set(NoKernel) - {NoKernel.UNANSWERED}
    assert set(NO_REPLY) == {NoKernel.UNANSWERED, *NoReplyReason}


@pytest.mark.parametrize("detail", ["line 11: '(' was never closed", "", "a: b"])
def test_a_reply_that_is_no_python_is_a_syntax_error_as_a_build_that_is_none(record, detail):
    reason = none_reason(NoKernel.SYNTAX, detail)
    assert reason_code(reason) == NoKernel.SYNTAX
    reply, build = without_kernel(record, reason), of_kind(record, "failed", phase=Phase.SYNTAX)
    assert kind_of(reply) == kind_of(build)
    (kind,) = failures([reply, build])
    assert (kind.kind, kind.number) == ("syntax error", 2)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no transformation gives a new source", NOTHING),
        ("unchanged: the kernel comes back unchanged: no word about it", "unchanged"),
        ("rate: 429", "no reply"),
        ("unanswered: rate: 429", "no reply"),
        ("truncated: the reply was cut off", "reply cut off"),
        ("", NOTHING),
    ],
)
def test_a_candidate_without_a_kernel_is_told_by_its_reason(record, reason, words):
    assert outcome(without_kernel(record, reason)) == words


def test_a_duplicate_is_told_with_what_it_duplicates_and_its_outcome(record):
    seen = set()
    for trial in record.trials:
        if trial.verdict == "duplicate":
            first = next(one for one in record.trials if one.name == trial.duplicate_of)
            assert outcome(trial) == f"duplicate of {first.name}, {kind_of(first).words}"
            seen.add(kind_of(first).words)
    assert CORRECT in seen
    assert len(seen) > 1


def test_equal_sources_that_fail_are_counted_with_how_many_differ(record):
    group = [of_kind(record, "failed", name=name, phase="fallback") for name in ("r1a0s5", "r1a1s6", "r2a0s1")]
    (kind,) = failures(group, {"r1a1s6": "r1a0s5", "r2a0s1": "r1a0s5"})
    assert (kind.number, kind.different, failures(group)[0].different) == (3, 1, 3)
