"""`make demo` installs what a search needs, and no more; `make test` and `make lint` install their tools."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def fresh(tmp_path):
    """A checkout that nothing was set up in."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def lines(folder, *words):
    """What make would run."""
    return subprocess.run(
        ["make", "--dry-run", *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip


@pytest.mark.parametrize(("target", "package"), [("demo", "."), ("test", ".[test,lint]"), ("lint", ".[test,lint]")])
def test_a_target_installs_what_it_needs_and_says_so_first(fresh, target, package):
    ran = lines(fresh, target)
    (install,) = [line for line in ran if " pip install " in line]
    assert f"--editable '{package}' " in install
    assert "--quiet" not in install
    assert ran[ran.index(install) - 1].startswith('echo "== installing ')


def test_only_pytorch_comes_from_the_index_of_its_builds_and_pip_does_not_wait_long_for_it(fresh):
    torch, everything = [line for line in lines(fresh, "demo", "TORCH=cpu") if " pip install " in line]
    assert "--timeout 15 --retries 1" in torch
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt torch" in torch
    assert "index-url" not in everything


def test_what_is_set_up_is_not_set_up_again_and_the_tools_hold_what_a_search_needs(fresh):
    (fresh / ".venv").mkdir()
    (fresh / ".venv" / "search").touch()
    assert not [line for line in lines(fresh, "demo") if "install" in line]
    assert [line for line in lines(fresh, "test") if " pip install " in line]
    assert "touch .venv/search" in lines(fresh, "test")
    (fresh / ".venv" / "ready").touch()
    assert not [line for line in lines(fresh, "test") if "install" in line]
