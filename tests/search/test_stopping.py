from kopt.model.trial import StopReason
from kopt.search.stopping import improved, stop_reason

RULES = {"wanted_share": 0.95, "patience": 5}


def test_a_measured_kernel_at_the_wanted_share_of_the_roofline_ends_the_search():
    assert stop_reason(0.95, 0, estimated=False, **RULES) is StopReason.ROOFLINE


def test_an_estimate_near_the_roofline_ends_nothing():
    assert stop_reason(0.99, 0, estimated=True, **RULES) is None


def test_rounds_without_improvement_end_the_search():
    assert stop_reason(0.5, 5, estimated=True, **RULES) is StopReason.NO_IMPROVEMENT
    assert stop_reason(0.5, 4, estimated=True, **RULES) is None


def test_a_difference_within_the_noise_is_no_improvement():
    assert not improved(0.999, 1.0, noise=0.003)
    assert improved(0.99, 1.0, noise=0.003)
