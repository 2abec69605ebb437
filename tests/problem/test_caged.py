"""What keeps a problem's code from being read is said in the words of its author."""

import pytest

from kopt.errors import ProblemError
from kopt.problem.caged import caged
from kopt.problem.derive import Derived, derived
from kopt.problem.draft import Draft


def test_a_model_that_takes_too_long_is_told_with_what_to_do():
    endless = Draft(name="slow", reference="while True:\n    pass\n")
    with pytest.raises(ProblemError) as raised:
        caged("slow", 0.5, Derived, derived, endless)
    message = str(raised.value)
    assert message.startswith("slow: kopt runs the model")
    assert "not done within 0.5 s" in message
    assert "workloads with small sizes in problem.yaml" in message
    assert "\n" not in message
    assert "cage" not in message
