"""The table of features names a test for every feature, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = dict(re.findall(r"^\| ([SM]\d+) \|(.*)$", (ROOT / "docs" / "features.md").read_text(), re.M))


@cache
def named_in(path: str) -> set[str]:
    """Names of the tests in a file, those of classes as `Class::test`."""
    body = ast.parse((ROOT / path).read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    within = {f"{node.name}::{part.name}" for node in classes for part in node.body if hasattr(part, "name")}
    return within | {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_feature_has_a_row():
    assert list(ROWS) == [*(f"S{n}" for n in range(1, 17)), *(f"M{n}" for n in range(1, 9))]


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_feature_exist(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", ROWS[row])
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in named_in(path)] == []
