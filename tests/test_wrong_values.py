"""What a model of pydantic refuses is told in plain words."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from kopt.config import Config
from kopt.errors import _PATTERNS, _WANTED, with_place
from kopt.load_config import explain


class Sizes(BaseModel):
    name: str = "a"
    count: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0, lt=1)
    kind: Literal["even", "odd"] = "even"
    names: list[str] = Field(default=["x"], min_length=1)
    exact: bool = False
    inner: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"count": "two"}, "count: must be a whole number"),
        ({"count": 1.5}, "count: must be a whole number"),
        ({"count": [1]}, "count: must be a whole number"),
        ({"count": 0}, "count: must be at least 1"),
        ({"count": 10}, "count: must be at most 9"),
        ({"share": "half"}, "share: must be a number"),
        ({"share": 0}, "share: must be more than 0"),
        ({"share": 1.0}, "share: must be less than 1"),
        ({"kind": "evn"}, "kind: must be one of even, odd; did you mean 'even'?"),
        ({"names": []}, "names: must have at least 1"),
        ({"names": "x"}, "names: must be a list"),
        ({"names": [1]}, "names.0: must be text"),
        ({"exact": "perhaps"}, "exact: must be true or false"),
        ({"inner": 3}, "inner: must be a mapping of keys to values"),
        ({"name": None}, "name: must be text"),
    ],
)
def test_a_fault_is_told_with_its_place_and_without_words_of_pydantic(value, says):
    with pytest.raises(ValidationError) as refused:
        Sizes.model_validate(value)
    assert with_place(refused.value.errors(include_url=False)[0]) == says


def test_every_setting_of_a_search_refuses_a_wrong_value_in_plain_words():
    wrong = {
        "rounds": "two",
        "judge": "cudda",
        "warm": "maybe",
        "models": 7,
        "stop": [],
        "limits": {"build_seconds": -1},
    }
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"problem": "softmax", **wrong})
    said = explain(refused.value)
    assert "Input should" not in said
    assert "judge: must be one of auto, cuda, interpret, dry, dry_gpu, recorded; did you mean 'cuda'?" in said


def test_the_kinds_of_fault_that_are_known_are_those_of_pydantic():
    from typing import get_args

    from pydantic_core.core_schema import ErrorType

    assert set(_WANTED) <= set(get_args(ErrorType))


def test_every_pattern_of_a_setting_is_told_in_words():
    patterns = [
        pattern
        for field in Config.model_fields.values()
        for one in field.metadata
        if (pattern := getattr(one, "pattern", None))
    ]
    assert len(patterns) >= 3
    assert set(patterns) <= set(_PATTERNS)
