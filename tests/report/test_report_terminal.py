import pytest

from kopt.model.trial import StopReason
from kopt.model.verdict import Check
from kopt.neutral import one_line
from kopt.report.numbers import closeness, far_text, milliseconds, percent
from kopt.report.record import Comparison, FinalFigures
from kopt.report.round_line import STOPPED, round_line
from kopt.report.terminal import final_lines
from tests.report.made_up_run import made_up_tables

SUMMARY = made_up_tables(rounds=1).summaries[1].model_copy(
    update={
        "round": 1, "slots": 90, "built": 88, "unique": 71, "correct": 64, "pool_before_dedup": 66, "pool": 65,
        "clusters": 14, "classified": 15, "best_ms": 1.8753, "seed_ms": 2.0628, "best_model": "claude-opus-4.6",
    }
)  # fmt: skip
FINAL = FinalFigures(
    best_name="r2a0s17", description="wider\nloads\x1b[2J", best_ms=1.8753, seed_ms=2.0628, speedup=1.1, estimated=True,
    roofline_share=0.7,
)  # fmt: skip


def test_a_round_is_one_line_in_the_style_of_a_log():
    assert round_line(SUMMARY) == (
        "R1: 64/90 ok (88 built, 71 unique), PTX dedup 66→65, clusters=14, classified 15 new, 50 known, "
        "best 1.8753 ms estimated (claude-opus-4.6), 1.10x seed estimated, within the error of estimates"
    )


def test_a_round_says_how_many_of_its_kernels_are_repairs():
    assert "R1: 64/90 ok (9 after a repair, 88 built" in round_line(SUMMARY.model_copy(update={"repaired": 9}))


def test_a_measured_time_is_not_called_estimated():
    assert "estimated" not in round_line(SUMMARY.model_copy(update={"estimated": False}))


def test_without_clustering_nothing_is_said_of_clusters():
    assert "cluster" not in round_line(SUMMARY.model_copy(update={"clusters": 0}))


def test_round_0_says_the_seeds_time():
    assert round_line(SUMMARY.model_copy(update={"round": 0})) == "R0: seed 2.0628 ms estimated"


def test_a_stopped_search_says_why():
    stopped = {"stopped": StopReason.ROOFLINE}
    assert round_line(SUMMARY.model_copy(update=stopped)).endswith(f"; the search stops ({STOPPED['roofline']})")
    idle = SUMMARY.model_copy(update={"slots": 0, **stopped})
    assert round_line(idle) == f"R1: nothing asked, the search has stopped ({STOPPED['roofline']})"


def test_every_reason_to_stop_has_words():
    assert set(STOPPED) == set(StopReason)


def test_the_last_lines_name_kernel_time_speedup_and_files():
    lines = final_lines(FINAL, model="kopt-rewrite", files={"kernel": "results/matvec/best_kernel.py"})
    assert lines == [
        "best kernel    r2a0s17 (kopt-rewrite), in its words: wider loads",
        "time           1.8753 ms estimated, seed 2.0628 ms estimated",
        "speedup        1.10x seed estimated, within the error of estimates",
        "roofline       70 % of the speed of light estimated",
        "kernel         results/matvec/best_kernel.py",
    ]


def test_the_line_of_the_roofline_goes_on_with_why_the_kernel_is_far_from_it():
    why = "which would be 0.0088 ms: a call is 4 launches and 1 copy"
    final = FINAL.model_copy(update={"estimated": False, "roofline_share": 0.11})
    lines = final_lines(final, model="m", files={}, shortfall=why)
    assert f"roofline       11 % of the speed of light, {why}" in lines


def test_the_end_tells_what_stopped_the_search_and_when():
    stopped = SUMMARY.model_copy(update={"stopped": StopReason.BUDGET})
    rounds = [SUMMARY, stopped.model_copy(update={"round": 2}), stopped.model_copy(update={"round": 3, "slots": 0})]
    lines = final_lines(FINAL, model="m", files={"kernel": "k.py"}, rounds=rounds)
    assert lines[-2:] == ["stopped        in round 2: the budget for language models is spent", "kernel         k.py"]
    assert not any("stopped" in line for line in final_lines(FINAL, model="m", files={}, rounds=[SUMMARY]))


def test_measured_baselines_and_interval_are_shown_without_the_label():
    measured = {"estimated": False, "interval": (1.87, 1.88), "eager_ms": 2.0, "compile_ms": 1.9}
    text = "\n".join(final_lines(FINAL.model_copy(update=measured), model="m", files={}))
    assert "95 % interval 1.8700 to 1.8800 ms" in text
    assert "eager          2.0000 ms, 1.07x" in text
    assert "estimated" not in text


def test_what_a_model_wrote_cannot_steer_the_terminal():
    assert one_line("a\x1b[31m\r\nb\u202ec") == r"a b\u202ec"


def test_short_times_keep_three_digits():
    assert [milliseconds(ms) for ms in (123.45678, 1.5, 0.01, 0.001234)] == [
        "123.4568 ms", "1.5000 ms", "0.0100 ms", "0.00123 ms",
    ]  # fmt: skip


def test_a_share_below_the_roofline_is_never_shown_as_all_of_it():
    assert [percent(share) for share in (0.0, 0.00002, 0.003, 0.5, 0.999, 1.0)] == [
        "0 %", "0.002 %", "0.3 %", "50 %", "99 %", "100 %",
    ]  # fmt: skip


def test_a_best_kernel_slower_than_pytorch_says_so_first():
    lines = final_lines(FINAL.model_copy(update={"eager_ms": 1.0}), model="m", files={})
    expected = "the best kernel is slower than PyTorch eager (1.0000 ms estimated, 0.53x)"
    assert lines[0] == f"attention      {expected}"
    assert not FINAL.model_copy(update={"eager_ms": 2.0}).faster_baselines


@pytest.mark.parametrize(
    ("ms", "share", "ample", "said"),
    [
        (1.8, 0.003, 0.0, "0.3 % of the roofline, which is 0.0054 ms"),
        (1.8, 0.003, 0.05, "0.3 % of the roofline, which is 0.0054 ms"),
        (1.8, 0.003, 0.9, ""),  # the rows of a table that are chosen, not all of it, make the floor
        (1.8, 0.0499, 0.0, "5 % of the roofline"),
        (0.051, 0.0001, 0.0, "0.01 % of the roofline"),
        (1.8, 0.05, 0.0, ""),
        (0.05, 0.001, 0.0, ""),  # a launch takes as long
        (0.004, 0.00002, 0.0, ""),
        (1.8, 1.0, 1.8, ""),
    ],
)
def test_a_kernel_hopelessly_far_from_the_roofline_says_so_unless_it_is_small(ms, share, ample, said):
    final = FINAL.model_copy(update={"best_ms": ms, "roofline_share": share, "ample_ms": ample})
    lines = [line for line in final_lines(final, model="m", files={}) if line.startswith("attention")]
    assert len(lines) == bool(said)
    assert said in far_text(ms, share, ample)
    assert all("the best kernel is far from the hardware's limit" in line for line in lines)


def test_a_measured_baseline_is_faster_only_beyond_doubt():
    rows = (Comparison(name="eager", ms=1.8, speedup=0.96, low=0.9, high=1.02),
            Comparison(name="compile", ms=1.5, speedup=0.8, low=0.79, high=0.81))  # fmt: skip
    final = FINAL.model_copy(update={"against": rows, "estimated": False})
    assert final.faster_baselines == (("compile", 1.5),)


def test_without_a_time_of_pytorch_no_ratio_to_it_is_written():
    assert not [line for line in final_lines(FINAL, model="m", files={}) if "eager" in line]


@pytest.mark.parametrize(
    ("floats", "integers", "said"),
    [
        ([(0.2, 0.5), (0.3, 0.5)], [], "at most 60% of the allowed error"),
        ([(0.5, 0.0)], [], "off where no error is allowed"),
        ([(7e28, 9e30)], [], "at most 1% of the allowed error"),
        ([(0.0, 0.0)], [(0.0, 0.0)], "equal to the reference"),
        ([], [(0.0, 0.0), (1.0, 1.0)], "integers equal save where rounding decides them, there off by 1 at most"),
        ([(0.1, 0.5)], [(1.0, 1.0)],
         "at most 20% of the allowed error, integers equal save where rounding decides them, there off by 1 at most"),
        ([], [(127.0, 0.0)], "integers off by 127 where none may be off"),
        ([], [(1.0, 1.0), (34.0, 2.0)],
         "integers equal save where rounding decides them, there off by 1 at most, "
         "integers off by 34 where rounding allows 2"),
        ([], [(9e18, 0.0)], "integers off by more than a million where none may be off"),
    ],
)  # fmt: skip
def test_the_error_of_integers_is_a_number_and_no_share(floats, integers, said):
    checks = [
        Check(workload="w", distribution="normal", max_error=error, allowed=most, integers=whole)
        for whole, errors in ((False, floats), (True, integers))
        for error, most in errors
    ]
    assert closeness(checks) == said
