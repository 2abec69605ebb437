"""A recording is data: checked before it is used, apart from what this machine measures, and never filled up."""

import io
import json
import lzma
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from kopt.backends import recorded
from kopt.backends.backend import Rivals, load_backend
from kopt.commands.parts.claims import refuse_estimates
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact, NotRecorded, StoreError
from kopt.jobs.asker import Asker
from kopt.jobs.builds import built_named
from kopt.jobs.recorded import find_build, measurements_in, put_measurements
from kopt.jobs.target import ProblemOnTarget
from kopt.llm.pack import FORMAT, measurements_packed, pack, recording_in, unpack
from kopt.model.kernel import Kernel
from kopt.model.options import JudgeOptions
from kopt.model.trial import BuildRow
from kopt.prompts.sections import Prompt
from kopt.run_settings import RunSettings
from kopt.sandbox import archive as archives
from kopt.store import Store

ARCHIVE = Path(__file__).resolve().parents[2] / "docs/results/stand_in/softmax.replies.tar.xz"
OPTIONS = JudgeOptions(seed=0, judge_seconds=1.0)


@pytest.fixture(scope="module")
def measured():
    return measurements_packed(ARCHIVE)


@pytest.fixture
def store(tmp_path, measured):
    store = Store(tmp_path / "store")
    put_measurements(store, measured)
    return store


@pytest.fixture
def target(store, measured):
    return ProblemOnTarget(problem=None, facts=measured.facts, device=measured.device, store=store)


def row(kernel):
    return BuildRow(round=1, attempt=0, slot=2, kernel=kernel, status="built")


def test_recorded_times_are_told_as_they_were_and_named_as_recorded(target, measured):
    passed = next(one for one in measured.verdicts if one.time)
    judged = recorded.judge(target, OPTIONS, rivals=Rivals(), workers=1)([row(passed.kernel)])[2]
    assert judged.timing == passed.time
    assert (judged.timing.kind, judged.evaluation) == ("recorded", passed.evaluation)


def test_what_was_not_recorded_is_an_error_in_one_line_and_never_made_up(target, measured):
    unknown = row("a" * 64)
    with pytest.raises(NotRecorded, match=r"holds no verdict on r1a0s2 \(kernel aaaaaaaaaaaa\).*triton 9.2.0, here"):
        recorded.judge(target, OPTIONS, rivals=Rivals(), workers=1)([unknown])
    with pytest.raises(NotRecorded, match="holds no build of kernel"):
        recorded.build(target, workers=1, seconds=1.0)([Kernel(source="x", entry="f")])
    with pytest.raises(NotRecorded, match="holds no outcome of this selection"):
        recorded.outcome([], target, OPTIONS, ())
    with pytest.raises(NotRecorded, match="holds no estimate of build"):
        recorded.estimate("b" * 64, target)
    with pytest.raises(NotRecorded, match="holds no measurements: kopt replay"):
        measurements_in(Store(target.store.root / "empty"))


def test_a_search_on_this_machine_finds_no_recorded_build(store, measured):
    name = measured.builds[0].name
    assert find_build(name, store) == measured.builds[0].build
    with pytest.raises(StoreError, match="is not in the store"):
        built_named(name, store)


def test_a_store_holds_one_recording(store, measured):
    put_measurements(store, measured)
    with pytest.raises(ConfigError, match="measurements of another recorded search: name another"):
        put_measurements(store, measured.model_copy(update={"results": {}}))


def test_a_replay_asks_for_no_gpu_and_is_no_win():
    backend = load_backend("recorded")
    assert (backend.measures, backend.leases, backend.keeps_builds) == (True, False, False)
    with pytest.raises(ConfigError, match="is a replay: its times were measured elsewhere"):
        refuse_estimates("t", Config(judge="recorded"))


class TestPrompts:
    """Replies of a recording whose prompts kopt words otherwise now."""

    @pytest.fixture
    def asker(self, store, tmp_path, measured):
        unpack(ARCHIVE, store)
        recording = recording_in(ARCHIVE)
        config = Config(judge="recorded", models=("written",), replies="replay")
        return Asker(RunSettings(config).asking, recording.models, store, tmp_path)

    def request(self, asker):
        return asker.request("written", Prompt(template="propose/1", system="", stable="", text="other words"))

    def test_the_reply_of_the_slot_stands_and_that_is_said(self, asker, measured, capsys):
        asked = self.request(asker)
        reply = asker.ask({"r1a0s1": asked})["r1a0s1"]
        assert "BLOCK=" in reply.text
        assert asker.recorded_as == {asked.digest: measured.requests["r1a0s1"][0]}
        assert "1 of 1 prompts differ from those that were recorded" in capsys.readouterr().err

    def test_only_slots_get_replies_beside_measurements_that_are_made_anew(self, store, tmp_path, measured, capsys):
        from kopt.errors import NoReply

        unpack(ARCHIVE, store)
        config = Config(judge="cuda", models=("written",), replies="slots")
        asker = Asker(RunSettings(config).asking, recording_in(ARCHIVE).models, store, tmp_path)
        asked = self.request(asker)
        assert "BLOCK=" in asker.ask({"r1a0s1": asked})["r1a0s1"].text
        assert asker.recorded_as == {}
        assert "1 of 1 prompts differ from those that were recorded" in capsys.readouterr().err
        again = Asker(RunSettings(config.model_copy(update={"replies": "replay"})).asking, asker.table, store, tmp_path)
        assert "BLOCK=" in again.ask({"r1a0s1": asked})["r1a0s1"].text  # kept as the reply to this very prompt
        for label in ("r1c0", "r1d0", "r1reflect"):
            names = {label: measured.requests["r1a0s1"]}
            asker._recording = lambda names=names: measured.model_copy(update={"requests": names})
            other = asker.request("written", Prompt(template="propose/1", system="", stable="", text=label))
            with pytest.raises(NoReply, match=f"{label}: no recorded reply"):
                asker.ask({label: other})

    def test_a_slot_without_a_recorded_reply_is_an_error(self, asker):
        from kopt.errors import NoReply

        with pytest.raises(NoReply, match="r9a0s0: no recorded reply to request"):
            asker.ask({"r9a0s0": self.request(asker)})


def packed(path, measurements, *, compress=True):
    """An archive with these measurements, whose digest is right."""
    body = measurements if isinstance(measurements, bytes) else json.dumps(measurements).encode()
    head = {"format": FORMAT, "replies": {}, "no_replies": {}, "measurements": sha256(body).hexdigest()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("manifest.json", json.dumps(head).encode()), ("measurements.json", body)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(lzma.compress(out.getvalue()) if compress else out.getvalue())
    return path


def changed(plain, *place_and_value):
    *place, last, value = place_and_value
    plain = json.loads(json.dumps(plain))
    part = plain
    for name in place:
        part = part[name]
    part[last] = value
    return plain


HOSTILE = {
    "a build's name that is a path": ("builds", 0, "name", "../../x"),
    "a text's digest that is a path": ("builds", 0, "build", "workloads", 0, "launches", 0, "ptx", "../../x"),
    "a verdict's name that is a path": ("verdicts", 0, "evaluation", "/etc/passwd"),
    "a request that is a path": ("requests", {"r1a0s0": ["../x"]}),
    "no time of a right kernel": ("verdicts", 0, "time", None),
    "a time of nothing": ("rankings", 0, 0, "time_ms", 0.0),
    "a device that acts on a terminal": ("device", "name", "\x1b]0;owned\x07"),
    "a baseline that acts on a terminal": ("baseline", "timings", {"\u202e": None}),
    "a version that acts on a terminal": ("versions", {"torch": "1\n2"}),
    "an unknown field": ("more", 1),
    "another judge": ("judge", "dry"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recording_is_refused(tmp_path, measured, change):
    plain = measured.model_dump(mode="json")
    if change[0] == "baseline":
        seed = plain["baseline"]["timings"]["seed"]
        change = (*change[:-1], {"\u202e": seed})
    assert measurements_packed(packed(tmp_path / "good.xz", plain)) == measured
    with pytest.raises(CorruptArtifact, match="is not a whole archive"):
        measurements_packed(packed(tmp_path / "bad.xz", changed(plain, *change)))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(tmp_path, measured, number):
    body = json.dumps(changed(measured.model_dump(mode="json"), "device", "copy_gb_s", 12345.5))
    bad = body.replace("12345.5", number).encode()
    with pytest.raises(CorruptArtifact, match="no number of a measurement"):
        measurements_packed(packed(tmp_path / "a.tar", bad, compress=False))


def test_a_compressed_archive_that_is_torn_or_goes_on_is_refused(tmp_path):
    content = ARCHIVE.read_bytes()
    for name, bad in {"torn": content[:-100], "longer": content + b"x", "altered": content[:200] + b"\0" * 50}.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(CorruptArtifact):
            unpack(tmp_path / name, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 20)
    (tmp_path / "bomb").write_bytes(lzma.compress(bytes(8 << 20)))
    with pytest.raises(CorruptArtifact, match="more than 1 MiB when decompressed"):
        recording_in(tmp_path / "bomb")


def test_equal_measurements_give_equal_bytes(tmp_path, measured):
    empty = Store(tmp_path / "store")
    for name in ("a.xz", "b.xz"):
        assert pack(empty, (), tmp_path / name, measurements=measured).measurements
    assert (tmp_path / "a.xz").read_bytes() == (tmp_path / "b.xz").read_bytes()
