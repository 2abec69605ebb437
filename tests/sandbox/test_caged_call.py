"""A function that runs foreign code is called in the cage, and its answer is parsed."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from kopt.errors import ProblemError, WorkerDied
from kopt.sandbox.caged_call import run_caged, run_caged_heard, tell


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


def say(times: int) -> Other:
    for number in range(times):
        tell(f"{number} {'x' * 100_000}")
    return Other(value=times)


def test_what_a_caged_function_tells_is_heard_in_order_and_is_limited():
    heard = []
    assert run_caged_heard(heard.append, 30.0, Other, say, 3) == Other(value=3)
    assert [text.split()[0] for text in heard] == ["0", "1", "2"]
    with pytest.raises(WorkerDied, match="told more than 1024 KiB"):
        run_caged_heard(heard.append, 30.0, Other, say, 20)
    assert say(1) == Other(value=1)  # outside the cage nobody is told
