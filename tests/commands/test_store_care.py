"""`kopt store --verify`, `--prune --unused` and `--move`: nothing that a run needs is lost."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kopt import cli
from kopt.artifact import write_table
from kopt.commands.parts import store_move
from kopt.commands.parts.store_items import verify
from kopt.commands.parts.store_move import COPYING, MOVED, copy, move
from kopt.commands.parts.store_prune import prune
from kopt.commands.parts.store_unused import known_runs
from kopt.errors import ConfigError, StoreError
from kopt.jobs.keys import BuildKey, FactsKey, ProposalKey, VerdictKey
from kopt.llm.ledger import Ledger
from kopt.llm.packed import Versions, note
from kopt.llm.reply import Answered, Usage
from kopt.llm.request import ReplyKey
from kopt.model.base import Value
from kopt.model.build import Build, Built
from kopt.model.device import Toolchain
from kopt.store import Store
from kopt.store_use import in_use, users


class Row(Value):
    kernel: str
    build: str


def build_key(kernel):
    tools = Toolchain(torch="2", triton="3", arch=90)
    return BuildKey(kernel=kernel, entry="e", problem="p", device="d", toolchain=tools, screen="s")


def verdict_key(kernel):
    tools = Toolchain(torch="2", triton="3", arch=90)
    return VerdictKey(
        kernel=kernel, entry="e", problem="p", judge="j", seed=0, toolchain=tools, code="c" * 64
    )  # fmt: skip


def fill(store, name):
    """Keep what a run keeps of one kernel; return a row that refers to it, and the digest of its reply."""
    kernel = store.put_text("kernel", f"# {name}\n", ".py")
    ptx = store.put_text("ptx", f"// {name}\n", ".ptx")
    store.shelf(Build).put(build_key(kernel), Built(fingerprint=ptx, workloads=()))
    store.shelf(int).put(verdict_key(kernel), 1)
    proposal = {
        "parent": kernel,
        "failed": "",
        "direction": "",
        "facts": "",
        "seed": 1,
        "exclude": "",
        "experience": "",
        "code": "c" * 64,
    }
    store.shelf(int).put(ProposalKey(**proposal), 1)
    reply = ReplyKey(request=f"{len(name):064x}")
    store.shelf(Answered).put(reply, Answered(text=name, usage=Usage(dollars=0.25), stop="stop"))
    return Row(kernel=kernel, build=build_key(kernel).digest()), reply.digest()


@pytest.fixture
def store(tmp_path):
    """A store of two runs, whose folders lie beside it; facts of a problem belong to both."""
    store = Store(tmp_path / "results" / "store")
    store.shelf(int).put(FactsKey(problem="p" * 64, code="c" * 64), 1)
    for name in ("first", "second one"):
        folder = tmp_path / "results" / name
        with in_use(store.root, folder):
            row, reply = fill(store, name)
            write_table(folder / "builds.parquet", [row], Row)
            Ledger(folder / "ledger.jsonl")
            (folder / "ledger.jsonl").write_text(json.dumps({"request": reply}) + "\n")
    return store


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def runs_of(store, *more):
    return known_runs(store.root, more)


class TestVerify:
    def test_a_whole_store_has_nothing_corrupt(self, store):
        verified = verify(store.root)
        assert (verified.items, verified.corrupt) == (13, ())

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", "not JSON"), (b"[" * 200_000, "RecursionError"), (b"{}", "KeyError"), (b"[]", "TypeError"),
            (b"\xff\xfe", "not JSON"), (b'{"kind": "verdict", "version": 1, "key": {}, "value": 1, '
            b'"digest": "x"}', "the value does not match its digest"),
        ],
    )  # fmt: skip
    def test_a_corrupt_value_is_named_and_set_aside_only_when_asked(self, store, capsys, content, fault):
        path = next((store.root / "verdict").glob("*/*.json"))
        path.write_bytes(content)
        assert cli.main(["store", str(store.root), "--verify"]) == 1
        told = capsys.readouterr().out
        assert f"corrupt: {path}: " in told
        assert fault in told
        assert path.exists()
        assert cli.main(["store", str(store.root), "--verify", "--set-aside"]) == 1
        assert not path.exists()
        assert (store.root / "corrupt" / path.name).read_bytes() == content
        assert cli.main(["store", str(store.root), "--verify"]) == 0

    def test_an_item_under_the_name_of_another_is_corrupt(self, store):
        one, other = sorted((store.root / "verdict").glob("*/*.json"))
        one.write_bytes(other.read_bytes())
        (found,) = verify(store.root).corrupt
        assert found.fault == "the key does not match the digest in the name"

    def test_a_text_that_changed_a_folder_and_a_dangling_link_are_corrupt(self, store):
        kernel, ptx, vector = (next((store.root / kind).glob("*/*")) for kind in ("kernel", "ptx", "proposal"))
        kernel.write_text("# another\n")
        ptx.unlink()
        ptx.mkdir()
        vector.unlink()
        vector.symlink_to("nowhere")
        assert {item.fault for item in verify(store.root, set_aside=True).corrupt} == {
            "the content does not match the digest in the name", "not a file",
        }  # fmt: skip
        assert verify(store.root).corrupt == ()

    def test_a_reply_that_its_model_refuses_is_corrupt(self, store):
        store.write_new(ReplyKey(request="a" * 64), {"status": "answered", "text": 5, "usage": {}, "stop": "stop"})
        (found,) = verify(store.root).corrupt
        assert found.fault == "answered.text: must be text"


class TestUnused:
    def test_what_a_run_refers_to_stays_with_what_that_leads_to(self, store):
        assert prune(store.root, runs=runs_of(store)).unused == 0

    def test_what_a_deleted_run_alone_referred_to_goes_once_it_is_said(self, store, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = files(store.root)
        for path in (tmp_path / "results" / "first").iterdir():
            path.unlink()
        (tmp_path / "results" / "first").rmdir()
        command = ["store", str(store.root), "--prune", "--unused"]
        assert cli.main(command) == 0
        told = capsys.readouterr().out
        assert f"this run is gone, and what it alone refers to goes too: {tmp_path}/results/first" in told
        assert "6 items that no run refers to, replies for $0.25 among them" in told
        assert files(store.root) == before
        assert cli.main([*command, "--yes", "--json"]) == 0
        gone = json.loads(capsys.readouterr().out)
        assert len(gone["files"]) == 6
        kept = Store(store.root)
        assert kept.shelf(int).get(FactsKey(problem="p" * 64, code="c" * 64)) == 1
        assert prune(store.root, runs=runs_of(store)).unused == 0
        assert len(files(store.root)) == len(before) - 6

    def test_replies_of_an_unpacked_archive_stay(self, store, tmp_path):
        note(store, Versions(of={"kopt": "1"}))
        (tmp_path / "results" / "first" / "ledger.jsonl").unlink()
        (tmp_path / "results" / "first" / "builds.parquet").unlink()
        unused = prune(store.root, runs=runs_of(store)).files
        assert {name.partition("/")[0] for name in unused} == {"kernel", "ptx", "build", "verdict", "proposal"}

    def test_a_run_that_was_moved_with_its_store_is_known(self, store, tmp_path):
        (tmp_path / "results").rename(tmp_path / "moved")
        moved = Store(tmp_path / "moved" / "store")
        assert runs_of(moved).folders == (f"{tmp_path}/moved/first", f"{tmp_path}/moved/second one")
        assert prune(moved.root, runs=runs_of(moved)).unused == 0

    def test_a_file_of_a_run_that_cannot_be_read_ends_it_before_anything_is_removed(self, store, tmp_path):
        (tmp_path / "results" / "first" / "builds.parquet").write_bytes(b"PAR1")
        before = files(store.root)
        with pytest.raises(StoreError, match="nothing is removed"):
            prune(store.root, dry_run=False, runs=runs_of(store))
        assert files(store.root) == before

    def test_without_a_known_run_nothing_is_pruned(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Store(tmp_path / "s").put_text("kernel", "x", ".py")
        assert cli.main(["store", "s", "--prune", "--unused", "--yes"]) == 2
        assert len(files(tmp_path / "s")) == 1

    def test_further_folders_of_runs_count(self, store, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        for path in sorted((tmp_path / "results" / "first").iterdir()):
            path.rename(tmp_path / "elsewhere" / path.name)
        assert prune(store.root, runs=runs_of(store)).unused == 6
        assert prune(store.root, runs=runs_of(store, tmp_path / "elsewhere")).unused == 0


HOLD = """
import sys
from pathlib import Path
from kopt.store_use import in_use
with in_use(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def running(store, tmp_path):
    """A job of a run that uses the store."""
    command = [sys.executable, "-c", HOLD, str(store.root), str(tmp_path / "results" / "third")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_nothing_is_removed_or_moved_while_a_search_uses_the_store(store, running, tmp_path):
    before = files(store.root)
    for work in (lambda: prune(store.root, dry_run=False), lambda: move(store.root, tmp_path / "new")):
        with pytest.raises(StoreError, match=r"a search uses the store .* now"):
            work()
    assert files(store.root) == before
    running.kill()
    running.wait()
    assert prune(store.root, dry_run=False).removed


def test_a_run_is_remembered_once_however_many_jobs_it_has(store, tmp_path):
    for _ in range(3):
        with in_use(store.root, tmp_path / "results" / "first"):
            pass
    assert len(users(store.root)) == 2


def test_a_store_that_cannot_be_written_is_used_all_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    with in_use(tmp_path / "file" / "store", tmp_path):
        pass
    assert (tmp_path / "file").read_text() == ""


def other_file_system(source, target):
    """Rename as between two file systems, where only names within one folder change."""
    if Path(source).parent != Path(target).parent:
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
    os.rename(source, target)


class TestMove:
    @pytest.mark.parametrize("apart", [False, True])
    def test_runs_find_a_moved_store_where_it_was(self, store, tmp_path, monkeypatch, capsys, apart):
        if apart:
            monkeypatch.setattr(store_move, "rename", other_file_system)
        before = files(store.root)
        assert cli.main(["store", str(store.root), "--move", str(tmp_path / "far" / "store")]) == 0
        assert "is a link to it, so that runs go on as they are" in capsys.readouterr().out
        assert files(store.root) == files(tmp_path / "far" / "store")
        assert {path: body for path, body in files(store.root).items() if path.name != "in_use"} == {
            path: body for path, body in before.items() if path.name != "in_use"
        }
        assert verify(tmp_path / "far" / "store").corrupt == ()
        assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["store"]
        assert not store.root.with_name("store" + MOVED).exists()

    @pytest.mark.parametrize("stopped_at", range(1, 14))
    def test_a_copy_that_is_stopped_anywhere_goes_on_by_the_same_command(
        self, store, tmp_path, monkeypatch, stopped_at
    ):
        before, calls = files(store.root), 0

        def stopping(path, content):
            nonlocal calls
            calls += 1
            if calls == stopped_at:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write_bytes(path, content)

        write_bytes = store_move.artifact.write_bytes
        monkeypatch.setattr(store_move, "rename", other_file_system)
        target = tmp_path / "far" / "store"
        with monkeypatch.context() as full:
            full.setattr(store_move.artifact, "write_bytes", stopping)
            with pytest.raises(StoreError, match="No space left on device; the same command goes on"):
                move(store.root, target)
        assert files(store.root) == before | {Path("in_use"): b""}
        assert not target.exists()
        moved = move(store.root, target)
        assert moved.files == len(before) - 1 - (stopped_at - 1)
        assert verify(target).items == 13

    def test_a_move_that_is_stopped_while_it_removes_the_old_store_is_ended_by_the_same_command(
        self, store, tmp_path, monkeypatch
    ):
        target = tmp_path / "far" / "store"
        monkeypatch.setattr(store_move, "rename", other_file_system)
        with monkeypatch.context() as stopped:
            stopped.setattr(store_move.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                move(store.root, target)
        assert verify(target).items == 13
        assert move(store.root, target).linked
        assert not store.root.with_name("store" + MOVED).exists()

    def test_without_a_link_the_user_is_told_what_to_set(self, store, tmp_path, capsys):
        assert cli.main(["store", str(store.root), "--move", str(tmp_path / "new"), "--no-link"]) == 0
        assert f"set `store: {tmp_path}/new`" in capsys.readouterr().out
        assert not store.root.exists()

    def test_what_lies_at_the_target_is_not_touched(self, store, tmp_path):
        for target in (tmp_path, store.root, store.root / "within"):
            with pytest.raises(ConfigError):
                move(store.root, target)
        assert verify(store.root).items == 13

    def test_what_an_older_copy_left_does_not_come_along(self, store, tmp_path):
        folder = tmp_path / ("store" + COPYING)
        stale = folder / "reply" / "aa" / ("a" * 64 + ".json")
        stale.parent.mkdir(parents=True)
        stale.write_text("{}")
        copy(store.root, folder)
        assert not stale.exists()


@pytest.mark.parametrize("words", [["--yes"], ["--set-aside"], ["--unused"], ["--no-link"], ["--prune", "--runs", "x"]])
def test_a_word_that_means_nothing_alone_is_refused(store, words):
    assert cli.main(["store", str(store.root), *words]) == 2
