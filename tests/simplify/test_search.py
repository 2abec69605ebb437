"""Steps that do not pay are undone; what is wrong or slower is put back; nothing is judged twice."""

from kopt.simplify.search import Ancestor, Judgement, simplify
from tests.device.small import SOURCE

WARPS = SOURCE.replace("num_warps=4", "num_warps=8")
STAGES = WARPS.replace("num_warps=8", "num_warps=8, num_stages=5").replace("x * w * factor", "x * (w * factor)")


def lineage(*sources):
    return [
        Ancestor(name=f"r{round}a0s0", description=f"step {round}", source=source)
        for round, source in enumerate(sources)
    ]


def judge(*needed, wrong=()):
    """Texts without one of the needed words are slower; those without one of the others are wrong."""
    judged = []

    def of(source):
        judged.append(source)
        if not all(word in source for word in wrong):
            return Judgement(outcome="wrong", reason="incorrect: 3.75")
        outcome = "kept" if all(word in source for word in needed) else "slower"
        return Judgement(outcome=outcome, ms=1.0, ratio=1.0)

    of.judged = judged
    return of


def simplified(of, *sources, most=50):
    told = []
    found = simplify(lineage(*sources), "kernel_function", of, most=most, on_trial=told.append)
    assert tuple(told) == found.trials
    return found


def test_a_lineage_that_does_not_pay_is_undone_to_the_seed():
    found = simplified(judge(), SOURCE, WARPS, STAGES)
    assert found.source == SOURCE
    assert [(trial.kind, trial.outcome) for trial in found.trials] == [("step", "kept"), ("step", "kept")]


def test_a_step_that_pays_in_part_is_undone_in_part():
    found = simplified(judge("num_stages=5", "num_warps=8"), SOURCE, WARPS, STAGES)
    assert found.source == WARPS.replace("num_warps=8", "num_warps=8, num_stages=5")


def test_a_step_that_others_build_on_is_said_and_its_parts_are_tried():
    found = simplified(judge("num_stages=7"), SOURCE, STAGES, STAGES.replace("num_stages=5", "num_stages=7"))
    assert [trial.outcome for trial in found.trials if trial.kind == "step"] == ["slower", "not possible"]
    assert "x * w * factor" in found.source
    assert "num_stages=7" in found.source


def test_what_is_wrong_without_a_step_keeps_it_and_says_why():
    found = simplified(judge(wrong=("num_warps=8",)), SOURCE, WARPS)
    assert found.source == WARPS
    assert found.trials[0].reason == "incorrect: 3.75"


def test_no_text_is_judged_twice_and_none_that_has_undefined_names():
    of = judge("never")
    simplified(
        of,
        SOURCE,
        WARPS,
        STAGES,
        STAGES.replace("(rows,)](", "(rows + EXTRA,)](").replace("    y =", "    EXTRA = 0\n    y ="),
    )
    assert len(of.judged) == len(set(of.judged))
    assert all(text.count("EXTRA") != 1 or "EXTRA = 0" in text for text in of.judged)


def test_the_number_of_trials_is_kept_and_the_rest_is_told():
    of = judge("never")
    found = simplified(of, SOURCE, WARPS, STAGES, most=2)
    assert len(of.judged) == 2
    assert found.untried > 0


def test_dead_code_and_stale_comments_go_at_the_end():
    seed = SOURCE.replace("    mask =", "    # four warps\n    mask =")
    dead = WARPS.replace("    mask =", "    # four warps\n    mask0 = 3\n    mask =")
    found = simplified(judge("num_warps=8"), seed, dead)
    assert "mask0" not in found.source
    assert found.trials[-1].outcome == "kept"
