"""Compiling a baseline leaves Inductor's settings as they were; its caches are packed and unpacked whole."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kopt.device.baselines.compilations import PACKED, Subject
from kopt.device.baselines.compiler import compiling, packed_caches


@pytest.mark.parametrize("cached", [True, False])
def test_only_a_compilation_whose_caches_are_there_compiles_on_one_thread(tmp_path, cached):
    import torch._inductor.config as inductor  # here, since it takes a second

    if cached:
        (tmp_path / "inductor").mkdir()
    with inductor.patch(compile_threads=3):
        with compiling(Subject("compile", "compile", 0, str(tmp_path))):
            assert inductor.compile_threads == (1 if cached else 3)
        assert inductor.compile_threads == 3


def test_caches_come_out_of_a_package_as_they_went_in(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for name, content in {"inductor/ab/one.py": b"x = 1", "triton/KEY/two.cubin": os.urandom(100_000)}.items():
        (first / name).parent.mkdir(parents=True)
        (first / name).write_bytes(content)
    (first / "triton/link").symlink_to(tmp_path)
    second.mkdir()
    (second / PACKED).write_bytes(packed_caches(str(first)))
    with compiling(Subject("compile", "compile", 0, str(second))):
        pass
    found = {str(path.relative_to(second)): path.read_bytes() for path in second.rglob("*") if path.is_file()}
    assert found == {name: (first / name).read_bytes() for name in ("inductor/ab/one.py", "triton/KEY/two.cubin")}
    assert not (second / "triton/link").exists()


@pytest.mark.parametrize("end", [0, 10, -200])
def test_a_package_that_is_cut_off_costs_the_caches_alone(tmp_path, caplog, end):
    (tmp_path / "first").mkdir()
    (tmp_path / "first/a").write_bytes(os.urandom(1000))
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / PACKED).write_bytes(packed_caches(str(tmp_path / "first"))[:end])
    with compiling(Subject("compile", "compile", 0, str(tmp_path / "second"))):
        pass
    assert "made again" in caplog.text


@pytest.mark.parametrize(
    ("before", "written", "after"),
    [
        ({"warps": 8, "found_by_coordesc": True}, {"warps": 4, "found_by_coordesc": False}, "before"),
        ({"warps": 8, "found_by_coordesc": False}, {"warps": 4, "found_by_coordesc": True}, "written"),
        ({"warps": 8, "found_by_coordesc": True}, {"warps": 4, "found_by_coordesc": True}, "written"),
        ("no JSON object", {"warps": 4}, "written"),
    ],
)
def test_a_choice_of_coordinate_descent_stays_for_the_next_process(tmp_path, before, written, after):
    known, new = tmp_path / "inductor/ab/one.best_config", tmp_path / "inductor/ab/two.best_config"
    known.parent.mkdir(parents=True)
    known.write_text(json.dumps(before))
    with compiling(Subject("max-autotune", "max-autotune", 0, str(tmp_path))):
        known.write_text(json.dumps(written))
        new.write_text(json.dumps(written))
    assert json.loads(known.read_text()) == (before if after == "before" else written)
    assert json.loads(new.read_text()) == written


PRINTING = """
import os, sys
from kopt.device.baselines.compilations import Subject
from kopt.device.baselines.compiler import compiling
with compiling(Subject("compile", "compile", 0, sys.argv[1])):
    print("AUTOTUNE mm(512x3072, 3072x24576)")
    print("No valid triton configs", file=sys.stderr)
    os.write(2, b"from C\\n")
print("after")
"""


def test_what_torch_prints_while_it_compiles_does_not_reach_the_terminal(tmp_path):
    (tmp_path / "c").mkdir()
    command = [sys.executable, "-c", PRINTING, str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("after\n", "")
    printed = ["AUTOTUNE mm(512x3072, 3072x24576)", "No valid triton configs", "from C"]
    assert sorted((tmp_path / "c.txt").read_text().splitlines()) == sorted(printed)


def test_a_compilation_tells_when_it_waits_for_triton_alone(tmp_path):
    from torch._inductor.async_compile import AsyncCompile  # here, since it takes a second
    from torch._inductor.select_algorithm import AlgorithmSelectorCache

    idle: list[bool] = []

    @contextmanager
    def waits() -> Iterator[None]:
        idle.append(True)
        yield
        idle.append(False)

    before = AsyncCompile.wait
    with compiling(Subject("compile", "compile", 0, str(tmp_path)), waits):
        AsyncCompile().wait({})
        assert idle == [True, False]
        precompile = AlgorithmSelectorCache().make_precompile_fn([], "mm", "")
        assert idle == [True, False]
        precompile()
        assert idle == [True, False] * 2
        other = threading.Thread(target=AsyncCompile().wait, args=({},))
        other.start()
        other.join()
        assert idle == [True, False] * 2
    assert AsyncCompile.wait is before
