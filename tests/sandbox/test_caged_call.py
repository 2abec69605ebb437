"""A function that runs foreign code is called in the cage, and its answer is parsed."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from kopt.errors import ProblemError, WorkerDied
from kopt.sandbox.caged_call import run_caged


class Seen(BaseModel):
    """What a caged function sees."""

    key: str
    written: bool
    found: int


class Other(BaseModel):
    """Another model than is promised."""

    value: int


def look(place: Path, module: str) -> Seen:
    try:
        place.write_text("x")
    except OSError:
        written = False
    else:
        written = True
    found = __import__(module).VALUE
    return Seen(key=os.environ.get("SECRET_KEY", ""), written=written, found=found)


def refuse() -> Seen:
    raise ProblemError("the reason")


def lie() -> Seen:
    return Other(value=1)


def break_off() -> Seen:
    raise ValueError("two\nlines")


def test_foreign_code_writes_nothing_reads_no_key_and_finds_modules_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "module_of_mine.py").write_text("VALUE = 7")
    seen = run_caged(30.0, Seen, look, tmp_path / "written", "module_of_mine")
    assert seen == Seen(key="", written=False, found=7)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (refuse, ProblemError, "^the reason$"),
        (lie, WorkerDied, "the answer from the cage cannot be parsed"),
        (break_off, WorkerDied, "break_off raised ValueError: two lines"),
    ],
)
def test_errors_cross_the_cage_as_errors_of_kopt(function, error, said):
    with pytest.raises(error, match=said):
        run_caged(30.0, Seen, function)
