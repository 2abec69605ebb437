"""`kopt store` counts what a store holds and removes only what nothing reads any more."""

import ast
import json
import os
import time
from pathlib import Path

import pytest

from kopt import cli
from kopt.commands.parts.store_prune import KEYS, VERSIONS, WRITING_S, prune
from kopt.commands.store import report_lines, store_report
from kopt.errors import ConfigError
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.store import Key, Store

PACKAGE = Path(cli.__file__).parent


class OlderReplyKey(ReplyKey):
    schema_version = 0


def kind(report, name):
    (found,) = [kind for kind in report.kinds if kind.kind == name]
    return found


@pytest.fixture
def store(tmp_path):
    """Two replies, one of an older schema; a text; a torn reason; a free lock; an old and a new half-written file."""
    store = Store(tmp_path / "store")
    for key in (OlderReplyKey(request="a"), ReplyKey(request="b")):
        store.shelf(int).put(key, 1)
    store.put_text("kernel", "x = 1\n", ".py")
    torn = store.path(NoReplyKey.kind, NoReplyKey(request="c").digest(), ".json")
    store.write(torn, b"{")
    assert store.shelf(int).get(NoReplyKey(request="c")) is None
    with store.lock("reply", "abc"):
        pass
    (store.root / "locks" / "reply" / "abc.lock").touch()
    for name, age in ((".old.tmp", WRITING_S + 60), (".new.tmp", 0)):
        path = torn.parent / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    return store


def test_a_report_counts_items_older_items_and_set_aside_files(store):
    report = store_report(store.root)
    assert (kind(report, "reply").items, kind(report, "reply").older) == (2, 1)
    assert (kind(report, "kernel").items, kind(report, "kernel").bytes) == (1, 6)
    assert (report.corrupt, report.conflicts, report.dead) == (1, (), 4)


def test_a_dry_prune_removes_nothing(store):
    before = {path for path in store.root.rglob("*") if path.is_file()}
    assert len(prune(store.root).files) == 4
    assert {path for path in store.root.rglob("*") if path.is_file()} == before


def test_a_prune_removes_what_a_dry_prune_says_and_nothing_else(store):
    files = {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}
    dead = set(prune(store.root).files)
    assert set(prune(store.root, dry_run=False).files) == dead
    assert {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()} == (files - dead) | {
        "in_use"
    }
    assert store.shelf(int).get(ReplyKey(request="b")) == 1
    assert prune(store.root).files == ()


def test_a_lock_that_is_held_stays(store):
    with store.lock("reply", "def"):
        assert "locks/reply/def.lock" not in prune(store.root, dry_run=False).files
        assert (store.root / "locks" / "reply" / "def.lock").exists()


def test_records_of_conflicts_are_shown_and_never_pruned(store):
    class Number(Key):
        kind = "number"
        number: int

    for value in (1, 2):
        store.shelf(int).put(Number(number=1), value)
    prune(store.root, dry_run=False)
    (conflict,) = store_report(store.root).conflicts
    assert (store.root / conflict).is_file()
    assert [line for line in report_lines(store_report(store.root), store.root) if line.startswith("conflict: ")]


def test_the_command_reports_then_prunes(store, capsys):
    assert cli.main(["store", str(store.root)]) == 0
    assert f"kopt store {store.root} --prune --yes removes 4 files" in capsys.readouterr().out
    assert cli.main(["store", str(store.root), "--prune"]) == 0
    assert "would remove 4 files" in capsys.readouterr().out
    assert cli.main(["store", str(store.root), "--prune", "--yes", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 4
    assert cli.main(["store", str(store.root)]) == 0
    assert "nothing to prune" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder: name the store of a run"):
        store_report(tmp_path / "nowhere")


def defined_keys():
    """Names of the classes in kopt whose only base is `Key`, found without importing anything."""
    classes = (node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    return {
        node.name
        for node in classes
        if isinstance(node, ast.ClassDef) and [getattr(base, "id", "") for base in node.bases] == ["Key"]
    }


def test_every_key_class_of_kopt_is_known_to_the_command():
    assert {key.__name__ for key in KEYS} == defined_keys()
    assert len(VERSIONS) == len(KEYS), "two key classes share a kind"


def test_measurements_replies_made_seeds_and_kernels_made_ahead_are_the_keys_that_do_not_determine_their_values():
    undetermined = {key.kind for key in KEYS if not key.determined}
    assert undetermined == {
        "timing",
        "finals",
        "profile",
        "peaks",
        "compilation",
        "made_seed",
        "reply",
        "no_reply",
        "further",
    }
