import multiprocessing
import os
from pathlib import Path
from typing import ClassVar

import pytest

from kopt.errors import StoreError
from kopt.model.verdict import Incorrect, Verdict
from kopt.store import Key, Store


class Number(Key):
    kind: ClassVar[str] = "number"
    number: int


class NumberAgain(Number):
    schema_version: ClassVar[int] = 2


class Other(Key):
    kind: ClassVar[str] = "other"
    number: int


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def only_file(store):
    (file,) = [p for p in (store.root / "number").rglob("*") if p.is_file()]
    return file


def test_what_was_put_is_got(store):
    shelf = store.shelf(Verdict)
    verdict = Incorrect(judge="interpret", reason="off by one")
    shelf.put(Number(number=1), verdict)
    assert shelf.get(Number(number=1)) == verdict


def test_an_unknown_item_is_none(store):
    assert store.shelf(int).get(Number(number=1)) is None


def test_the_first_value_under_a_key_stays(store):
    shelf = store.shelf(int)
    shelf.put(Number(number=1), 10)
    assert shelf.put(Number(number=1), 20) == 10


def test_kind_version_and_fields_are_all_part_of_a_key():
    keys = [Number(number=1), Number(number=2), NumberAgain(number=1), Other(number=1)]
    assert len({key.digest() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: b"",
        lambda content: content.replace(b'"value":10', b'"value":11'),
        lambda content: content.replace(b'"number":1', b'"number":2'),
        lambda content: b"\xff" + content,
    ],
    ids=["torn", "empty", "value altered", "key altered", "not text"],
)
def test_a_corrupt_item_is_set_aside_and_made_again(store, damage, caplog):
    shelf = store.shelf(int)
    shelf.put(Number(number=1), 10)
    file = only_file(store)
    file.write_bytes(damage(file.read_bytes()))
    assert shelf.get_or_make(Number(number=1), lambda: 12) == 12
    assert shelf.get(Number(number=1)) == 12
    assert (store.root / "corrupt" / file.name).exists()
    assert "set aside" in caplog.text


def test_an_item_is_found_by_the_digest_of_its_key(store):
    key = Number(number=1)
    store.shelf(int).put(key, 10)
    assert store.shelf(int).named("number", key.digest()) == 10


def test_a_text_is_kept_under_its_own_digest(store):
    name = store.put_text("kernel", "x = 1\n", ".py")
    assert store.text("kernel", name, ".py") == "x = 1\n"


def test_an_altered_text_is_never_returned(store):
    name = store.put_text("kernel", "x = 1\n", ".py")
    store.path("kernel", name, ".py").write_text("x = 2\n")
    with pytest.raises(StoreError, match="not in the store"):
        store.text("kernel", name, ".py")
    assert store.put_text("kernel", "x = 1\n", ".py") == name
    assert store.text("kernel", name, ".py") == "x = 1\n"


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(StoreError, match=r"cannot (read|write to) the store"):
        Store(tmp_path / "store").put_text("kernel", "x", ".py")


def make_many(root: str, made: str) -> None:
    shelf = Store(Path(root)).shelf(int)

    def make(number: int) -> int:
        with open(made, "a") as file:
            file.write(f"{number}\n")
        return number

    for number in range(60):
        assert shelf.get_or_make(Number(number=number), lambda number=number: make(number)) == number


def test_processes_that_race_make_every_item_exactly_once(tmp_path):
    made = tmp_path / "made"
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=make_many, args=(str(tmp_path / "store"), str(made))) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert sorted(map(int, made.read_text().split())) == list(range(60))


def test_nothing_is_left_behind_when_an_item_cannot_be_made(store):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.shelf(int).get_or_make(Number(number=1), fail)
    assert store.shelf(int).get_or_make(Number(number=1), lambda: 5) == 5
    assert not [name for name in os.listdir(store.root) if name.endswith(".tmp")]
