"""Which store a finished run used, wherever its reader stands."""

import shutil
from pathlib import Path

import pytest

from kopt.artifact import write_value
from kopt.commands.parts.looked_at import store_used
from kopt.config import Config
from kopt.run.manifest import configuration_of
from kopt.run.started import STARTED, Started
from kopt.run.stores import store_folder

OTHERS = ("here", "start", "moved")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Three folders, each with a store of its own; the reader stands in the first, the run lies in the second."""
    for name in OTHERS:
        (tmp_path / name / "results" / "store").mkdir(parents=True)
    (tmp_path / "start" / "results" / "run").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def record(folder: Path) -> Started:
    return Started(
        words=("snakemake",),
        folder=str(folder),
        host="h",
        moment=1.0,
        first=1.0,
        configuration=configuration_of(Config()),
        locked=True,
    )


def test_a_run_that_lies_where_it_was_started_has_the_store_that_it_used(places):
    start = places / "start"
    (start / "elsewhere").mkdir()
    run = start / "results" / "run"
    assert store_folder(run, Config(), record(start)) == start / "results" / "store"
    assert store_folder(run, Config(store="elsewhere"), record(start)) == start / "elsewhere"


def test_a_run_that_was_moved_has_the_store_beside_it(places):
    moved = places / "moved" / "results" / "run"
    shutil.move(places / "start" / "results" / "run", moved)
    for known in (record(places / "start"), None):
        assert store_folder(moved, Config(), known) == places / "moved" / "results" / "store"


def test_the_store_is_looked_for_here_at_last(places):
    shutil.rmtree(places / "start" / "results" / "store")
    run = places / "start" / "results" / "run"
    assert store_folder(run, Config(), record(places / "start")) == Path("results/store")
    assert store_folder(run, Config(store="none"), record(places / "start")) is None


def test_a_store_with_an_absolute_path_is_that_one(places):
    run, store = places / "start" / "results" / "run", places / "moved" / "results" / "store"
    assert store_folder(run, Config(store=str(store)), record(places / "start")) == store


def test_commands_that_write_from_a_run_use_its_store_unless_one_is_given(places):
    run = places / "start" / "results" / "run"
    write_value(run / STARTED, record(places / "start"))
    assert store_used(run, None) == places / "start" / "results" / "store"
    assert store_used(run, Path("results/store")) == Path("results/store")
    assert store_used(places, None) == Path("results/store")
