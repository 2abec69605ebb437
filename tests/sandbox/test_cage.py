import os
import socket
import tempfile
from pathlib import Path

import pytest

from kopt.sandbox.cage import Limits, cage_features
from kopt.sandbox.pool import Returned, run_forked

FEATURES = cage_features()
needs_landlock = pytest.mark.skipif(
    not FEATURES["only scratch writable (Landlock)"], reason="this kernel offers no Landlock, so files are not confined"
)
needs_network_namespaces = pytest.mark.skipif(
    not FEATURES["network namespace"],
    reason="this machine permits no network namespaces: the network is open",
)


def caged(task, limits=Limits(wall_s=20.0)) -> str:  # noqa: B008 - frozen
    ((_, outcome),) = run_forked([lambda _: task().encode()], workers=1, limits=limits)
    assert isinstance(outcome, Returned), outcome
    return outcome.value.decode()


def refused(action) -> str:
    try:
        action()
    except OSError:
        return "refused"
    return "permitted"


def initial_environment():
    try:
        return Path("/proc/self/environ").read_bytes().decode()
    except PermissionError:  # where Landlock closes /proc
        return ""


def test_no_api_key_reaches_the_child(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret-of-the-test")
    assert caged(lambda: ",".join(sorted(os.environ))).count("KEY") == 0
    assert "sk-secret-of-the-test" not in caged(initial_environment)


def test_only_a_child_that_uses_cuda_sees_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert caged(lambda: os.environ["CUDA_VISIBLE_DEVICES"]) == ""
    assert caged(lambda: os.environ["CUDA_VISIBLE_DEVICES"], Limits(wall_s=20.0, gpu=True)) == "GPU-1"


@needs_landlock
def test_the_parents_environment_cannot_be_read():
    parent = os.getpid()
    assert caged(lambda: refused(Path(f"/proc/{parent}/environ").read_bytes)) == "refused"


@needs_landlock
def test_only_scratch_is_writable(tmp_path):
    assert caged(lambda: refused(lambda: (tmp_path / "file").write_text("x"))) == "refused"
    assert caged(lambda: refused(lambda: Path(tempfile.mkdtemp(), "file").write_text("x"))) == "permitted"
    assert caged(lambda: refused(lambda: Path("/dev/null").write_text("x"))) == "permitted"
    assert not (tmp_path / "file").exists()


@needs_landlock
def test_an_installed_module_cannot_be_changed():
    assert caged(lambda: refused(lambda: Path(tempfile.__file__).open("a").close())) == "refused"


@needs_network_namespaces
def test_the_network_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert caged(lambda: refused(lambda: socket.create_connection(address, timeout=2))) == "refused"


def test_home_and_caches_lie_in_scratch():
    names = ("HOME", "TMPDIR", "TRITON_CACHE_DIR")
    here, *folders = caged(lambda: "\n".join([os.getcwd(), *(os.environ[name] for name in names)])).splitlines()
    assert [Path(folder).parent for folder in folders] == [Path(here)] * len(names)


def test_files_of_the_parent_are_closed(tmp_path):
    with (tmp_path / "open").open("w") as file:
        number = file.fileno()
        assert caged(lambda: refused(lambda: os.fstat(number))) == "refused"


def test_stdin_is_empty():
    assert caged(lambda: os.read(0, 10).decode()) == ""


def test_every_feature_says_yes_no_or_how():
    features = cage_features()
    assert features["memory limit"] in ("kernel", "watched")
    assert all(isinstance(value, bool | str) for value in features.values())
