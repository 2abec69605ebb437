"""Folders that cannot be written, and store files of every wrong kind: one line, or the item is made again."""

import errno
import os
import resource
import signal
from pathlib import Path
from typing import ClassVar

import pytest

from kopt import artifact
from kopt.errors import StoreError, error_line
from kopt.jobs.command import run
from kopt.llm.exchange import write_requests
from kopt.llm.ledger import Ledger
from kopt.llm.reply import Usage
from kopt.model.base import Value
from kopt.sandbox.cage import Limits
from kopt.sandbox.pool import Raised, run_forked
from kopt.store import Key, Store


class Probe(Key):
    kind: ClassVar[str] = "probe"
    n: int


class Item(Value):
    text: str


LARGE = "x" * (64 << 10)


def in_child(action, *, root=True):
    """What an action prints or raises in a forked process of its own, whose limits and rights it may change."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            answer = "done"
        except Exception as error:  # noqa: BLE001 - the answer
            answer = error_line(error)
        except SystemExit as error:
            answer = f"exit {error.code}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def on_a_full_disk(action):
    """What an action does where no file may grow beyond 1 kB; the error is told as that of a full disk."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        action()

    return in_child(limited)


def written_to(folder):
    return {
        "store value": lambda: Store(folder / "store").shelf(Item).put(Probe(n=1), Item(text=LARGE)),
        "store text": lambda: Store(folder / "store").put_text("text", LARGE),
        "a run's table": lambda: artifact.write_text(folder / "run/round.json", LARGE),
    }


@pytest.mark.parametrize("place", ["store value", "store text", "a run's table"])
def test_a_full_disk_is_one_line_that_names_the_file_and_leaves_no_half_of_one(tmp_path, place):
    line = on_a_full_disk(written_to(tmp_path)[place])
    assert line.startswith("kopt: error: ")
    assert str(tmp_path) in line
    assert "then run the same command again" in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "schema_version"]


def test_a_full_disk_under_a_log_ends_no_job(tmp_path, monkeypatch):
    import logging
    import sys

    words = [f"log={tmp_path / 'logs/x.log'}", f"store={tmp_path / 'store'}", f"run={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["x.py", *words])

    def main(job):
        for _ in range(100):
            logging.getLogger("kopt").info("%s", "x" * 1000)

    assert on_a_full_disk(lambda: run(main)) == "done"


def test_a_full_disk_under_a_candidate_is_its_own_failure():
    def task(report):
        Path("file").write_bytes(bytes(1 << 20))
        return b""

    ((_, outcome),) = run_forked([task], workers=1, limits=Limits(wall_s=20.0, file_bytes=1024))
    assert isinstance(outcome, Raised)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(number, words):
    line = error_line(OSError(number, os.strerror(number), "/some/where"))
    assert line.startswith("kopt: error: /some/where: ")
    assert words in line


def as_nobody(action):
    def other():
        os.setgid(65534)
        os.setuid(65534)
        action()

    return in_child(other)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without rights")
def test_a_store_that_may_only_be_read_gives_what_it_has_and_says_what_it_cannot():
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder, "store")
        store = Store(root)
        store.shelf(Item).get_or_make(Probe(n=1), lambda: Item(text="kept"))
        store.path("probe", Probe(n=2).digest(), ".json").parent.mkdir(exist_ok=True)
        store.path("probe", Probe(n=2).digest(), ".json").write_text("corrupt")

        def read():
            assert Store(root).shelf(Item).get_or_make(Probe(n=1), lambda: Item(text="new")) == Item(text="kept")

        def make():
            Store(root).shelf(Item).get_or_make(Probe(n=3), lambda: Item(text="new"))

        def set_aside():
            Store(root).shelf(Item).get(Probe(n=2))

        assert as_nobody(read) == "done"
        for action in (make, set_aside):
            line = as_nobody(action)
            assert line.startswith(f"kopt: error: cannot write to the store {root}")
            assert "permissions" in line


SPOILT = {
    "empty": lambda path: path.write_bytes(b""),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "deep": lambda path: path.write_bytes(b"[" * 200_000),
    "deep value": lambda path: path.write_bytes(
        b'{"kind":"probe","version":1,"key":{"n":1},"digest":"x","value":' + b"[" * 900 + b"]" * 900 + b"}"
    ),
    "other JSON": lambda path: path.write_bytes(b'{"kind":1}'),
    "list": lambda path: path.write_bytes(b"[]"),
    "null": lambda path: path.write_bytes(b"null"),
    "huge number": lambda path: path.write_bytes(b"9" * 9999),
    "not a number": lambda path: path.write_bytes(
        b'{"kind":"probe","version":1,"key":{"n":1},"digest":"x","value":NaN}'
    ),
    "half a character": lambda path: path.write_bytes(
        b'{"kind":"probe","version":1,"key":{"n":1},"digest":"x","value":"\\ud800"}'
    ),
    "a folder": lambda path: path.mkdir(),
    "a folder with files": lambda path: (path / "a").mkdir(parents=True),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nowhere": lambda path: path.symlink_to("/nonexistent/x"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/full"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_lies_in_the_place_of_an_item_is_set_aside_and_the_item_made_again(tmp_path, spoil, caplog):
    store = Store(tmp_path)
    shelf = store.shelf(Item)
    for _ in range(2):  # the second time something lies in corrupt/ already
        shelf.get_or_make(Probe(n=1), lambda: Item(text="a"))
        store.put_text("text", "hello")
        paths = [next((tmp_path / kind).glob("??/*.*")) for kind in ("probe", "text")]
        for path in paths:
            path.unlink()
            spoil(path)
        assert shelf.get_or_make(Probe(n=1), lambda: Item(text="a")) == Item(text="a")
        assert store.text("text", store.put_text("text", "hello")) == "hello"
    assert all("set aside" in message and message.isprintable() for message in caplog.messages)
    assert len(caplog.messages) == 4


@pytest.mark.parametrize("name", ["corrupt", "locks", "probe", "probe/aa"])
def test_a_file_where_the_store_has_a_folder_is_named(tmp_path, name):
    store = Store(tmp_path)
    if name == "corrupt":
        store.shelf(Item).put(Probe(n=1), Item(text="a"))
        store.path("probe", Probe(n=1).digest(), ".json").write_text("corrupt")
    name = name.replace("aa", Probe(n=1).digest()[:2])
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(StoreError, match=f"{name} is a file and should be a folder: move it away"):
        store.shelf(Item).get_or_make(Probe(n=1), lambda: Item(text="a"))


def test_a_folder_where_a_request_should_be_written_is_named_and_the_others_are_written(tmp_path, caplog):
    (tmp_path / "README.md").mkdir()
    from llm_servers import PROTOCOLS, request_to, table_for

    table = table_for(9)
    request = request_to(table, PROTOCOLS[0], "slot")
    write_requests(tmp_path, {request.digest: request}, {}, table)
    assert (tmp_path / f"{request.digest}.md").exists()
    assert "README.md is a folder" in caplog.text


def test_a_ledger_on_a_full_disk_is_one_line(tmp_path):
    def spend():
        ledger = Ledger(tmp_path / "ledger.jsonl")
        from llm_servers import PROTOCOLS, request_to, table_for

        for number in range(20):
            ledger.enter(request_to(table_for(9), PROTOCOLS[0], f"{number}"), f"s{number}", "answered", Usage())

    line = on_a_full_disk(spend)
    assert line.startswith("kopt: error: ")
    assert len(line.splitlines()) == 1
