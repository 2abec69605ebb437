"""The code of an archive runs in the cage: it writes below its own folders only, and has no network and no keys."""

import hashlib
import io
import json
import os
import socket
import sys
import tarfile
from pathlib import Path

import pytest

from kopt import cli
from kopt.commands import replay
from kopt.llm.pack import FORMAT
from kopt.sandbox import confined, landlock
from kopt.sandbox.cage import cage_features

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock: kopt replay refuses")

EVIL = """
import json, os, socket, sys
from pathlib import Path
outside, port, parent = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tries = {
    "own folder": lambda: Path("mine").write_text("x"),
    "home": lambda: Path.home().joinpath("x").write_text("x"),
    "outside": lambda: (outside / "PWNED").write_text("x"),
    "link to outside": lambda: (os.symlink(outside, "link"), Path("link/PWNED").write_text("x")),
    "network": lambda: socket.create_connection(("127.0.0.1", port), timeout=2),
    "keys": lambda: [os.environ[name] for name in os.environ if "KEY" in name][0],
    "keys of the parent": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "killing the parent": lambda: os.kill(parent, 15),
    "another program": lambda: os.system(f"touch {outside}/PWNED2 2> {os.devnull}") and 1 / 0,
}
done = []
for name, action in tries.items():
    try:
        action()
        done.append(name)
    except Exception:
        pass
print(json.dumps(done))
sys.exit(7)
"""


def archive(path):
    recording = {
        "run": "evil", "settings": {"problem": "p", "judge": "dry"}, "models": {"models": {}},
        "problem": {"problem.py": "x"},
    }  # fmt: skip
    body = json.dumps(recording).encode()
    head = {"format": FORMAT, "replies": {}, "no_replies": {}, "versions": {}, "run": hashlib.sha256(body).hexdigest()}
    with tarfile.open(path, "w") as tar:
        for name, content in (("manifest.json", json.dumps(head).encode()), ("run.json", body)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def outside(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-planted")
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def test_what_an_archive_runs_is_announced_and_confined(tmp_path, outside, monkeypatch, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", EVIL, str(outside), str(server.getsockname()[1]), str(os.getpid())]
        monkeypatch.setattr(replay, "command", lambda settings, cores: words)  # in the place of Snakemake
        status = cli.main(["replay", str(archive(tmp_path / "a.tar")), "--results", str(tmp_path / "results")])
    out, err = capfd.readouterr()
    assert status == 7
    permitted = set(json.loads(out.splitlines()[-1]))
    assert permitted <= {"own folder", "home", *(() if closed("signals") else ("killing the parent",))}
    assert {"own folder", "home"} <= permitted
    assert "runs in the cage: it writes only below" in err
    assert os.listdir(outside) == []
    assert (tmp_path / "results/evil.replay/settings.yaml").exists()


def test_the_answer_of_a_replay_is_alone_on_stdout(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(replay, "command", lambda settings, cores: [sys.executable, "-c", "print('from snakemake')"])
    words = ["replay", str(archive(tmp_path / "a.tar")), "--results", str(tmp_path / "results"), "--json"]
    assert cli.main(words) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {
        "run": "evil", "folder": f"{tmp_path}/results/evil", "final": f"{tmp_path}/results/evil/final.json",
    }  # fmt: skip
    assert err.endswith("\nfrom snakemake\n")


def closed(word):
    return any(value for name, value in cage_features().items() if name.startswith(word))


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path, outside, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/evil.replay").symlink_to(outside)
    assert cli.main(["replay", str(archive(tmp_path / "a.tar")), "--results", str(tmp_path / "results")]) == 2
    assert "is a link, and a replay writes to its own folders only" in capsys.readouterr().err
    assert os.listdir(outside) == []


def test_a_machine_that_cannot_confine_says_so_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert cli.main(["replay", str(archive(tmp_path / "a.tar")), "--results", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert "holds code (problem.py)" in error
    assert "--trust" in error
    assert not (tmp_path / "results").exists()


def test_an_error_in_the_confined_process_is_one_line(tmp_path, capfd):
    def fails():
        Path("/nonexistent/x").read_text()

    assert confined.run_confined(fails, [tmp_path], {}) == 2
    assert capfd.readouterr().err.splitlines() == ["kopt: error: /nonexistent/x: No such file or directory"]
