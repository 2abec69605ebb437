"""Tests of one group run in one worker: else each worker makes again what a group's fixtures made."""

from pathlib import Path

import pytest

from tests.conftest import FIRST

HERE = Path(__file__).parent


@pytest.mark.xdist_group("groups")
def test_a_group_is_known_to_the_scheduler(request):
    if not request.config.getoption("loadgroup", None):
        pytest.skip("not run by pytest-xdist with --dist loadgroup")
    assert request.node.nodeid.endswith("@groups")


def test_a_test_without_a_group_is_of_the_group_of_its_module(request):
    assert request.node.get_closest_marker("xdist_group").args == ("tests/test_groups.py",)


def test_every_group_that_begins_first_is_a_group_of_some_test():
    texts = "".join(path.read_text() for path in HERE.rglob("test_*.py"))
    modules = {f"tests/{path.relative_to(HERE).as_posix()}" for path in HERE.rglob("test_*.py")}
    assert [group for group in FIRST if group not in modules and f'xdist_group("{group}")' not in texts] == []
