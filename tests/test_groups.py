"""Tests of one group run in one worker: else each worker makes again what a group's fixtures made."""

import pytest


@pytest.mark.xdist_group("groups")
def test_a_group_is_known_to_the_scheduler(request):
    if not request.config.getoption("loadgroup", None):
        pytest.skip("not run by pytest-xdist with --dist loadgroup")
    assert request.node.nodeid.endswith("@groups")
