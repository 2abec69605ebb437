import json
import multiprocessing
from pathlib import Path
from typing import ClassVar

import pytest

from kopt.errors import StoreError
from kopt.jobs.keys import BuildKey, VerdictKey
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built, Launch, Phase, WorkloadBuild
from kopt.model.verdict import Check, Failed, Incorrect, Passed, Verdict
from kopt.store import Key, Store, envelope_version, item_files


class Number(Key):
    kind: ClassVar[str] = "number"
    number: int


class NumberAgain(Number):
    schema_version: ClassVar[int] = 2


class Other(Key):
    kind: ClassVar[str] = "other"
    number: int


class Measurement(Key):
    kind: ClassVar[str] = "measurement"
    determined: ClassVar[bool] = False
    number: int


class Point(Value):
    x: float
    y: float
    seconds: float = 0.0


class OfAVerdict(Key):
    kind: ClassVar[str] = VerdictKey.kind
    incidental: ClassVar[frozenset[str]] = VerdictKey.incidental
    kernel: str = "k"


class OfABuild(Key):
    kind: ClassVar[str] = BuildKey.kind
    incidental: ClassVar[frozenset[str]] = BuildKey.incidental
    kernel: str = "k"


class PointKey(Key):
    kind: ClassVar[str] = "point"
    incidental: ClassVar[frozenset[str]] = frozenset({"seconds"})
    number: int


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def only_file(store):
    (file,) = item_files(store.root / "number")
    return file


def recorded_conflicts(store):
    return [json.loads(path.read_text()) for path in store.root.glob("conflicts/*/*.json")]


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


def test_a_second_value_that_differs_is_warned_of_in_one_line_and_both_are_recorded(store, caplog):
    shelf = store.shelf(Point)
    shelf.put(PointKey(number=1), Point(x=1, y=2))
    assert shelf.put(PointKey(number=1), Point(x=1, y=3)) == Point(x=1, y=2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    message = caplog.messages[0]
    assert len(message.splitlines()) == 1
    assert f"point {PointKey(number=1).digest()[:12]} was made again and came out differently in y;" in message
    (record,) = recorded_conflicts(store)
    assert (record["kept"]["y"], record["refused"]["y"], record["differs"]) == (2, 3, ["y"])


def test_a_conflict_found_twice_is_one_record(store):
    shelf = store.shelf(int)
    for value in (10, 20, 20):
        shelf.put(Number(number=1), value)
    assert len(recorded_conflicts(store)) == 1


def test_an_equal_value_is_no_conflict(store, caplog):
    for _ in range(2):
        store.shelf(Point).put(PointKey(number=1), Point(x=1, y=2))
    assert (caplog.messages, recorded_conflicts(store)) == ([], [])


def test_a_field_that_does_not_count_makes_no_conflict(store, caplog):
    for seconds in (1.0, 2.0):
        store.shelf(Point).put(PointKey(number=1), Point(x=1, y=2, seconds=seconds))
    assert (caplog.messages, recorded_conflicts(store)) == ([], [])


def test_of_two_measurements_the_first_stays_in_silence(store, caplog):
    shelf = store.shelf(float)
    assert [shelf.put(Measurement(number=1), value) for value in (1.0, 1.1)] == [1.0, 1.0]
    assert (caplog.messages, recorded_conflicts(store)) == ([], [])


def check(error):
    return Check(workload="small", distribution="normal", max_error=error, allowed=1.0)


@pytest.mark.parametrize(
    ("first", "second", "fields"),
    [
        (Passed(judge="cuda", checks=(check(0.1),)), Passed(judge="cuda", checks=(check(0.2),)), None),
        (
            Failed(judge="cuda", phase=Phase.LAUNCH, reason="a"),
            Failed(judge="cuda", phase=Phase.LAUNCH, reason="b"),
            None,
        ),
        (Passed(judge="cuda", checks=()), Incorrect(judge="cuda", reason="off"), ["verdict"]),
        (Failed(judge="cuda", phase=Phase.LAUNCH, reason="a"), Passed(judge="cuda", checks=()), ["phase", "verdict"]),
    ],
    ids=["errors in the checks", "text of a reason", "passed, then incorrect", "failed, then passed"],
)
def test_verdicts_differ_when_what_they_say_of_the_kernel_differs(store, first, second, fields):
    store.shelf(Verdict).put(OfAVerdict(), first)
    assert store.shelf(Verdict).put(OfAVerdict(), second) == first
    assert [record["differs"] for record in recorded_conflicts(store)] == ([fields] if fields else [])


def built(**changes):
    launch = {
        "kernel": "k", "grid": (1, 1, 1), "num_warps": 4, "num_stages": 1, "num_ctas": 1, "shared_bytes": 0,
        "registers": 32, "spills": 0, "signature": (), "ptx": "p", "cubin": "c", "entry": "e",
    }  # fmt: skip
    launches = (Launch.model_validate(launch | changes),)
    return Built(fingerprint="f", workloads=(WorkloadBuild(workload="main", launches=launches, host_ops=()),))


@pytest.mark.parametrize(
    ("second", "fields"),
    [
        (built(ptx="q", cubin="d", entry="g"), None),
        (built(registers=40), ["workloads.0.launches.0.registers"]),
        (BuildFailed(phase=Phase.COMPILE, reason="no"), ["fingerprint", "phase", "status", "workloads"]),
    ],
    ids=["debug lines", "resources", "built, then failed"],
)
def test_builds_differ_when_more_than_their_debug_lines_differs(store, second, fields):
    store.shelf(Build).put(OfABuild(), built())
    store.shelf(Build).put(OfABuild(), second)
    assert [record["differs"] for record in recorded_conflicts(store)] == ([fields] if fields else [])


def test_an_older_schema_is_not_found_and_said_once_in_the_life_of_a_store(store, caplog):
    store.shelf(int).put(Number(number=1), 10)
    assert Store(store.root).shelf(int).get(NumberAgain(number=1)) is None
    for number in (1, 2):
        Store(store.root).shelf(int).put(NumberAgain(number=number), 11)
    assert [len(message.splitlines()) for message in caplog.messages] == [1]
    assert "holds items of kind number of the older schema 1, which schema 2 replaces" in caplog.text


def test_an_older_schema_is_said_of_a_store_without_a_note_too(store, caplog):
    store.shelf(int).put(Number(number=1), 10)
    (store.root / "number" / "schema_version").unlink()
    Store(store.root).shelf(int).put(NumberAgain(number=1), 11)
    assert "older schema 1" in caplog.text


def test_code_of_an_older_schema_does_not_take_the_note_back(store, caplog):
    for key in (NumberAgain(number=1), Number(number=1), NumberAgain(number=2)):
        Store(store.root).shelf(int).put(key, 10)
    assert (store.root / "number" / "schema_version").read_text() == "2\n"
    assert caplog.messages == []


@pytest.mark.parametrize("key", [Number(number=1), NumberAgain(number=1)])
def test_the_schema_version_is_read_from_the_end_of_a_file(store, key):
    store.shelf(str).put(key, '"version":7}')
    assert envelope_version(only_file(store)) == key.schema_version


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
    assert store.shelf(int).named(Number, key.digest()) == 10


def test_an_item_of_an_older_schema_is_not_found_by_the_digest_of_its_key(store, monkeypatch):
    """A table of an earlier run names it; its value may mean something else now."""
    key = Number(number=1)
    store.shelf(int).put(key, 10)
    name = key.digest()
    monkeypatch.setattr(Number, "schema_version", Number.schema_version + 1)
    assert store.shelf(int).named(Number, name) is None


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


def put_one(root: str, number: int, barrier) -> None:
    barrier.wait()
    store = Store(Path(root))
    assert store.shelf(int).put(Number(number=1), number) == store.shelf(int).get(Number(number=1))


def test_of_processes_that_put_at_once_one_wins_and_all_others_see_its_value(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(6)
    racers = [context.Process(target=put_one, args=(str(tmp_path / "store"), at, barrier)) for at in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 6
    assert len(recorded_conflicts(Store(tmp_path / "store"))) == 5


def test_nothing_is_left_behind_when_an_item_cannot_be_made(store):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.shelf(int).get_or_make(Number(number=1), fail)
    assert store.shelf(int).get_or_make(Number(number=1), lambda: 5) == 5
    assert not list(store.root.rglob("*.tmp"))
