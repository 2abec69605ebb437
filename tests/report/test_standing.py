"""What the page says of the best kernel's standing: against PyTorch, on which sizes, with which inputs."""

import pytest

from kopt.model.verdict import Check
from kopt.report.numbers import WITHIN_ERROR, WITHIN_NOISE, Time, speedup_text, unsure
from kopt.report.record import Comparison, FinalFigures, WorkloadSizes
from kopt.report.sentences import against_pytorch, commands, inputs_by_size, unsure_gain, used_for, verified_on


def final(eager_ms, estimated=True):
    return FinalFigures(
        best_name="r1a0s0", best_ms=1.0, seed_ms=2.0, speedup=2.0, estimated=estimated, roofline_share=0.5,
        eager_ms=eager_ms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("eager_ms", "result", "words"),
    [
        (0.97, "tie", "the estimate cannot tell: it says slower, 0.97x"),
        (1.0, "tie", "it says as fast, 1.00x"),
        (1.1, "tie", "it says faster, 1.10x"),
        (0.8, "loss", "Slower than PyTorch eager: by the estimate, 0.80x"),
        (1.2, "win", "Faster than PyTorch eager: by the estimate, 1.20x"),
    ],
)
def test_an_estimate_nearer_to_pytorch_than_its_error_is_no_win_and_no_loss(eager_ms, result, words):
    standing = against_pytorch(final(eager_ms))
    assert standing.result == result
    assert words in standing.text
    assert bool(final(eager_ms).faster_baselines) is (result == "loss")


def test_a_measured_time_has_no_error_of_an_estimate():
    assert against_pytorch(final(0.97, estimated=False)).result == "loss"
    assert final(0.97, estimated=False).faster_baselines == (("eager", 0.97),)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (Time(1.0, None, None, True), Time(1.03, None, None, True), WITHIN_ERROR),
        (Time(1.0, None, None, True), Time(1.2, None, None, True), ""),
        (Time(1.0, 0.99, 1.01, False), Time(1.03, None, None, True), WITHIN_ERROR),
        (Time(1.0, 0.99, 1.01, False), Time(1.03, 1.02, 1.04, False), ""),
        (Time(1.0, 0.97, 1.03, False), Time(1.03, 1.02, 1.04, False), WITHIN_NOISE),
        (Time(1.0, None, None, False), Time(1.03, None, None, False), ""),
        (Time(1.0, None, None, False), Time(1.0, None, None, False), WITHIN_NOISE),
    ],
)
def test_estimates_are_told_apart_by_their_error_and_measured_times_by_their_intervals(one, other, why):
    assert unsure(one, other) == unsure(other, one) == why


def test_a_gain_over_the_seed_within_its_error_says_so():
    near = final(None).model_copy(update={"seed_ms": 1.05, "speedup": 1.05})
    assert unsure_gain(near) == WITHIN_ERROR
    assert unsure_gain(final(None)) == unsure_gain(final(None).model_copy(update={"seed_ms": 1.0})) == ""
    seed = Comparison(name="seed", ms=1.05, speedup=1.05, low=0.98, high=1.1)
    measured = near.model_copy(update={"estimated": False, "against": (seed,)})
    assert unsure_gain(measured) == WITHIN_NOISE
    for surely in ({"low": 1.01}, {"low": 0.8, "high": 0.9}):
        assert unsure_gain(measured.model_copy(update={"against": (seed.model_copy(update=surely),)})) == ""
    assert speedup_text(1.03, "seed", True) == f"1.03x seed estimated, {WITHIN_ERROR}"
    assert (speedup_text(1.0, "seed", True), speedup_text(1.03, "", False)) == ("1.00x seed estimated", "1.03x")


def sizes(name, *, timed=False, checked, title=""):
    return WorkloadSizes(name=name, title=title, sizes=f"{name}=1", timed=timed, checked=checked)


def test_what_was_verified_is_said_and_that_the_timed_size_was_not():
    timed, small = sizes("m", timed=True, checked=False), sizes("ragged", checked=True, title="small ragged")
    assert verified_on([timed, small]) == (
        "Verified on small ragged (ragged=1); never at the size that its time is of (m)."
    )
    assert verified_on([sizes("m", timed=True, checked=True)]) == "Verified on m (m=1)."
    assert verified_on([sizes("m", timed=True, checked=False)]) == "Verified on no size."
    assert verified_on([sizes("m", timed=True, checked=None)]) == ""
    assert used_for(timed, estimated=True) == "times estimated, never verified"


def test_inputs_that_were_drawn_on_some_sizes_alone_are_said():
    drawn = [("a", "given"), ("b", "given"), ("a", "integer (chosen)"), ("b", "tiny"), ("b", "tiny")]
    checks = [Check(workload=one, distribution=kind, max_error=0.0, allowed=1.0) for one, kind in drawn]
    assert inputs_by_size(checks, {"b": "small b"}) == "given on a, small b; integer on a; tiny on small b"
    assert inputs_by_size(checks[:2], {}) == ""


def test_a_search_that_people_answered_says_that_they_have_to_answer_again(record):
    told = {command: words for words, command in commands(record.model_copy(update={"asks_people": True}))}
    assert "somebody has to write the replies again" in told[record.command]
    far = record.model_copy(update={"folder": "/far/my run", "call": "y = kernel_function(a, x)"})
    texts = [command for _, command in commands(far)]
    assert texts[0] == "python '/far/my run/best_kernel.py'"
    assert texts[2] == "kopt export '/far/my run' --as module"
    assert texts[1].splitlines()[-2:] == ["from best_kernel import kernel_function", "y = kernel_function(a, x)"]
