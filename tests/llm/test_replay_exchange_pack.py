"""Runs without a network: recorded replies, replies through a folder, replies in an archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest
from llm_servers import PRICE, PROTOCOLS, request_to, table_for

from kopt.errors import CorruptArtifact
from kopt.llm.ask import ask, replay, replies_of
from kopt.llm.client import Clients
from kopt.llm.exchange import Pending, exchange
from kopt.llm.ledger import Ledger
from kopt.llm.pack import FORMAT, pack, unpack
from kopt.llm.reply import Answered, NoReplyReason, Truncated, Unanswered, Usage
from kopt.llm.request import key_of
from kopt.provenance import versions
from kopt.store import Store

TABLE = table_for(9)
FAULTS = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "altered": lambda path: path.write_bytes(path.read_bytes().replace(b"reply to", b"reply of")),
    "another request's": lambda path: path.write_bytes(
        path.parents[1].joinpath(ASKED["s0"].digest[:2], f"{ASKED['s0'].digest}.json").read_bytes()
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}
ASKED = {f"s{n}": request_to(TABLE, PROTOCOLS[n % 3], f"slot-{n}") for n in range(6)}


def record(store, requests=ASKED):
    """Put replies into a store as if they had been asked."""
    for label, request in requests.items():
        replies_of(store).put(key_of(request), Answered(text=f"reply to {label}", usage=Usage(output=3), stop="stop"))


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to make a provider's connection, or to open a socket, fails the test."""
    monkeypatch.setattr(Clients, "connection", lambda *_: pytest.fail("a provider's connection was made"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))


class TestReplay:
    def test_it_gives_back_what_was_recorded_and_makes_no_client(self, no_network, store):
        record(store)
        assert {label: reply.text for label, reply in replay(ASKED, store=store).items()} == {
            label: f"reply to {label}" for label in ASKED
        }

    def test_a_live_round_whose_replies_are_all_known_makes_no_client_either(self, no_network, store, ledger, options):
        record(store)
        replies = ask(ASKED, table=TABLE, store=store, ledger=ledger, options=options)
        assert all(reply.status == "answered" for reply in replies.values())
        assert ledger.cost().stored == 6
        assert ledger.cost().paid_usd == 0

    def test_it_names_what_is_missing(self, no_network, store):
        record(store, {"s0": ASKED["s0"]})
        missing = replay(ASKED, store=store)["s1"]
        assert isinstance(missing, Unanswered)
        assert missing.reason is NoReplyReason.MISSING
        assert ASKED["s1"].digest in missing.detail
        assert missing.detail.startswith("s1: ")


class TestExchange:
    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "exchange"

    @pytest.fixture
    def swap(self, no_network, store, ledger, folder):
        return lambda: exchange(ASKED, table=TABLE, store=store, ledger=ledger, folder=folder)

    def test_pending_requests_are_written_for_people_and_programs(self, swap, folder):
        pending = swap()
        assert isinstance(pending, Pending)
        assert pending.count == 6
        assert "6 requests wait" in pending.message
        for request in ASKED.values():
            page = (folder / f"{request.digest}.md").read_text()
            assert request.messages[0].text in page
            assert request.system in page
        lines = [json.loads(line) for line in (folder / "requests-openai.jsonl").read_text().splitlines()]
        assert {line["custom_id"] for line in lines} == {ASKED["s1"].digest, ASKED["s4"].digest}
        assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/responses")}
        own = [json.loads(line) for line in (folder / "requests-anthropic.anthropic.jsonl").read_text().splitlines()]
        assert own[0]["params"]["max_tokens"] == 1000

    def test_a_person_answers_with_a_file(self, swap, folder, store):
        swap()
        for label, request in ASKED.items():
            (folder / f"{request.digest}.reply.md").write_text(f"by hand {label}")
        replies = swap()
        assert {label: reply.text for label, reply in replies.items()} == {label: f"by hand {label}" for label in ASKED}
        assert replay(ASKED, store=store) == replies
        assert not list(folder.glob("requests-*"))

    def test_batch_output_of_both_providers_is_priced_at_the_batch_price(self, swap, folder, ledger):
        swap()
        (folder / "out.jsonl").write_text("".join(map(self.output_line, ASKED.values())))
        replies = swap()
        assert all(isinstance(reply, Answered) for reply in replies.values())
        assert replies["s1"].usage.dollars == pytest.approx((100 * 2.0 + 20 * 10.0) / 1e6 / 2)
        assert ledger.cost().calls == 6
        assert ledger.cost().paid_usd == pytest.approx(sum(reply.usage.dollars for reply in replies.values()))

    def test_batch_output_may_begin_with_a_byte_order_mark_and_hold_other_ends_of_lines(self, swap, folder):
        swap()
        lines = [self.output_line(request).replace("batched", "a\u2028b\u0085c") for request in ASKED.values()]
        assert "\u2028" in "".join(lines)
        (folder / "out.jsonl").write_text("\ufeff" + "\r\n".join(line.strip() for line in lines), encoding="utf-8")
        assert {reply.text for reply in swap().values()} == {"a\u2028b\u0085c"}

    def output_line(self, request):
        if request.model == "anthropic":
            usage = {"input_tokens": 100, "output_tokens": 20}
            content = [{"type": "text", "text": "batched"}]
            message = {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}
            line = {"result": {"type": "succeeded", "message": message}}
        else:
            usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
            choice = {"index": 0, "message": {"role": "assistant", "content": "batched"}, "finish_reason": "stop"}
            body = {"object": "chat.completion", "choices": [choice], "usage": usage}
            line = {"response": {"status_code": 200, "body": body}, "error": None}
        return json.dumps({"custom_id": request.digest} | line, ensure_ascii=False) + "\n"

    def test_what_is_not_answered_stays_pending_and_bad_lines_are_named(self, swap, folder, caplog):
        swap()
        bad = [
            "not json",
            json.dumps({"custom_id": ASKED["s0"].digest, "result": {"type": "errored"}}),
            json.dumps({"custom_id": ASKED["s1"].digest, "response": {"status_code": 500, "body": {}}}),
            json.dumps({"custom_id": "unknown", "response": {"status_code": 200, "body": {}}}),
            json.dumps([1]),
        ]
        (folder / "out.jsonl").write_text("\n".join(bad))
        (folder / f"{ASKED['s2'].digest}.reply.md").write_text("one")
        assert swap().count == 5
        assert "out.jsonl:1" in caplog.text
        assert "out.jsonl:2" in caplog.text
        assert len(list(folder.glob("requests-*.jsonl"))) == 4
        assert (folder / f"{ASKED['s2'].digest}.reply.md").exists()
        assert not (folder / f"{ASKED['s2'].digest}.md").exists()

    def test_nothing_of_a_person_s_is_removed_or_replaced_and_each_is_named(self, swap, folder, caplog):
        swap()
        names = [request.digest for request in ASKED.values()]
        mine = {
            "requests-anthropic.out.jsonl": "batch output under a wrong name",
            f"{names[0]}.md": "an answer typed into the page",
            f"{names[1]}.Reply.md": "an answer",
            f"{names[2]}.reply.txt": "an answer",
            f"{names[3].upper()}.reply.md": "an answer",
            "OUT.JSONL": "{}",
            "out.json": "{}",
            "notes.md": "notes",
            "requests-openai.jsonl": "edited",
            f"{'c' * 64}.md": "a page of mine",
        }
        for name, text in mine.items():
            (folder / name).write_text(text)
        for name in names[4:]:
            (folder / f"{name}.reply.md").write_text("answer")
        assert swap().count == 4
        for name, text in mine.items():
            assert (folder / name).read_text() == text
            assert name in caplog.text
        for digest in names[:4]:
            assert f"must be called {digest}.reply.md" in caplog.text
        assert not (folder / f"{names[4]}.md").exists()

    def test_requests_are_written_anew_while_nobody_changes_them(self, swap, folder, caplog):
        swap()
        swap()
        assert not caplog.messages

    def test_a_corrected_answer_is_said_to_come_too_late(self, swap, folder, caplog):
        swap()
        answer = folder / f"{ASKED['s0'].digest}.reply.md"
        answer.write_text("first")
        swap()
        answer.write_text("second")
        swap()
        (said,) = caplog.messages
        assert "the first stays" in said

    def test_an_answer_that_says_it_was_cut_off_is_kept_as_such(self, swap, folder, store):
        swap()
        choice = {"index": 0, "message": {"role": "assistant", "content": "half"}, "finish_reason": "length"}
        line = {"custom_id": ASKED["s1"].digest, "response": {"status_code": 200, "body": {"choices": [choice]}}}
        (folder / "out.jsonl").write_text(json.dumps(line))
        swap()
        assert isinstance(replay(ASKED, store=store)["s1"], Truncated)


class TestPack:
    def test_a_packed_run_replays_elsewhere_byte_for_byte(self, no_network, store, tmp_path):
        record(store)
        digests = [request.digest for request in ASKED.values()]
        assert pack(store, digests, tmp_path / "a.tar").replies == 6
        assert pack(store, reversed(digests), tmp_path / "b.tar").replies == 6
        assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
        elsewhere = Store(tmp_path / "elsewhere")
        assert unpack(tmp_path / "a.tar", elsewhere).replies == 6
        assert replay(ASKED, store=elsewhere) == replay(ASKED, store=store)

    def test_a_reply_that_is_missing_elsewhere_is_named_with_the_versions_that_differ(self, store, tmp_path):
        record(store, {"s0": ASKED["s0"]})
        pack(store, [ASKED["s0"].digest], tmp_path / "a.tar", versions() | {"triton": "3.0.9"})
        elsewhere = Store(tmp_path / "elsewhere")
        unpack(tmp_path / "a.tar", elsewhere)
        replies = replay(ASKED, store=elsewhere)
        assert replies["s0"].status == "answered"
        assert f"were made with triton 3.0.9 (here {versions()['triton']})" in replies["s1"].detail

    def test_versions_are_not_blamed_where_one_archive_was_made_with_those_here(self, store, tmp_path):
        record(store, {"s0": ASKED["s0"]})
        for number, made_with in enumerate([versions(), versions() | {"torch": "1.0"}]):
            pack(store, [ASKED["s0"].digest], tmp_path / f"{number}.tar", made_with)
            unpack(tmp_path / f"{number}.tar", store)
        assert "were made with" not in replay(ASKED, store=store)["s1"].detail

    def test_versions_that_are_no_versions_are_refused(self, store, tmp_path):
        record(store)
        pack(store, [ASKED["s0"].digest], tmp_path / "a.tar", {"triton": "3\n\x1b[2J"})
        with pytest.raises(CorruptArtifact):
            unpack(tmp_path / "a.tar", Store(tmp_path / "elsewhere"))
        assert not (tmp_path / "elsewhere").exists()

    def test_a_run_s_ledger_names_its_requests(self, store, tmp_path):
        ledger = Ledger(tmp_path / "ledger.jsonl")
        ledger.enter(ASKED["s0"], "s0", "answered", Usage())
        assert {line.request for line in ledger.lines()} == {ASKED["s0"].digest}

    @pytest.mark.parametrize("place", [700, 1200, -3000])
    def test_an_altered_archive_is_refused_whole(self, store, tmp_path, place):
        record(store)
        archive = tmp_path / "a.tar"
        pack(store, [request.digest for request in ASKED.values()], archive)
        content = bytearray(archive.read_bytes())
        content[place] ^= 1
        archive.write_bytes(content)
        elsewhere = Store(tmp_path / "elsewhere")
        before = archive.read_bytes()
        try:
            unpack(archive, elsewhere)
        except CorruptArtifact:
            assert not elsewhere.root.exists()
        else:
            assert replay(ASKED, store=elsewhere) == replay(ASKED, store=store)  # a byte of padding
        assert archive.read_bytes() == before

    @pytest.mark.parametrize("fault", FAULTS, ids=str)
    def test_a_reply_that_is_not_whole_is_named_and_left_out(self, store, tmp_path, fault):
        record(store)
        torn = store.path("reply", ASKED["s1"].digest, ".json")
        FAULTS[fault](torn)
        packed = pack(store, [request.digest for request in ASKED.values()], tmp_path / "a.tar")
        assert packed.replies == 5
        assert list(packed.unusable) == [str(torn)]
        assert unpack(tmp_path / "a.tar", Store(tmp_path / "elsewhere")).replies == 5

    def test_a_reply_that_was_there_and_is_gone_is_named(self, store, tmp_path):
        record(store, {"s0": ASKED["s0"]})
        names = [ASKED[label].digest for label in ("s0", "s1", "s2")]
        packed = pack(store, names, tmp_path / "a.tar", expected=names[:2])
        assert packed.unusable == {str(store.path("reply", names[1], ".json")): "it is gone"}

    @pytest.mark.parametrize("fault", FAULTS, ids=str)
    def test_a_reply_that_is_not_whole_is_replaced_by_an_archive_s_and_kept_aside(self, store, tmp_path, fault):
        record(store)
        pack(store, [request.digest for request in ASKED.values()], tmp_path / "a.tar")
        name = ASKED["s1"].digest
        FAULTS[fault](store.path("reply", name, ".json"))
        done = unpack(tmp_path / "a.tar", store)
        assert (done.replies, done.kept, done.replaced) == (6, 5, (name,))
        assert os.listdir(store.root / "corrupt")
        assert replay(ASKED, store=store)["s1"].text == "reply to s1"

    def test_a_reply_that_is_sound_but_for_its_model_is_refused(self, store, tmp_path):
        value = {"status": "answered", "text": 5, "usage": Usage().model_dump(), "stop": "stop"}
        key = key_of(ASKED["s0"])
        store.write_new(key, value)
        body = store.path("reply", key.digest(), ".json").read_bytes()
        listed = {key.digest(): hashlib.sha256(body).hexdigest()}
        manifest = {"format": FORMAT, "replies": listed, "no_replies": {}, "versions": {}, "run": ""}
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for file, content in (("manifest.json", json.dumps(manifest).encode()), (f"{key.digest()}.json", body)):
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        with pytest.raises(CorruptArtifact, match=r"answered\.text: must be text"):
            unpack(tmp_path / "a.tar", Store(tmp_path / "elsewhere"))
        assert pack(store, [key.digest()], tmp_path / "b.tar").replies == 0
        assert not (tmp_path / "b.tar").exists()

    def test_a_compressed_archive_is_said_to_be_compressed(self, store, tmp_path):
        record(store)
        pack(store, [ASKED["s0"].digest], tmp_path / "a.tar")
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
        with pytest.raises(CorruptArtifact, match="unpack it with gunzip first"):
            unpack(tmp_path / "a.tar.gz", Store(tmp_path / "elsewhere"))

    @pytest.mark.parametrize("content", [b"", b"no tar", b"\0" * 2000])
    def test_what_is_no_archive_is_refused(self, tmp_path, content):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(CorruptArtifact):
            unpack(tmp_path / "a.tar", Store(tmp_path / "store"))

    def test_links_in_an_archive_are_not_followed(self, tmp_path):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            info = tarfile.TarInfo("manifest.json")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
        with pytest.raises(CorruptArtifact):
            unpack(tmp_path / "a.tar", Store(tmp_path / "store"))


def test_the_worst_case_is_never_below_a_reply_at_the_limits():
    request = ASKED["s0"]
    most = Usage(cache_write=request.chars // 2, output=request.max_output_tokens)
    assert PRICE.worst(request) >= PRICE.dollars(most)
