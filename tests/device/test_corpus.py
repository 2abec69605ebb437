import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.commands import corpus
from kopt.commands.corpus import Entry, Judged, Result
from kopt.device.screen.rules import screen
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.build import BuildFailed, Built, Phase
from kopt.model.kernel import Kernel
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store
from tests.device.small import SCALE

ROOT = Path(__file__).resolve().parents[2]
EXPLOITS = ROOT / "tests" / "exploits"
PLACES = [ROOT / "config" / "problems", EXPLOITS / "problems"]
PROBLEMS = {name: folder.load(place / name) for place in PLACES for name in folder.names(place)}
ENTRIES = corpus.read(EXPLOITS, PROBLEMS)
BY_NAME = {entry.name: entry for entry in ENTRIES}
HONEST = [entry for entry in ENTRIES if entry.aim == "honest"]

CLASSES = """
    recycled memory, searching for the answer, cached output, CUDA graph, no work, stale buffer, constant output,
    99 % of the work, cheap later, side stream, background thread, lazy tensor, patched clock, patched comparison,
    forged output, exit, guessed seed, mutated input, torch fallback, unused kernel, lower precision, hard-coded shape,
    wrong shape or dtype, NaN, files, pinned L2, out of bounds, illegal access, endless loop, fork bomb, memory hog,
    work at import, attack on the judge, native code
"""

SAMPLE = ("recycled_memory_scan", "cached_by_shape", "torch_when_watched", "hard_coded_shape", "work_at_import")
WITHOUT_GPU = ("nothing_when_large", "torch_in_grid", "torch_in_kernel", "torch_in_crumbs", "python_by_tolist",
               "sum_without_atomics", "counts_on_order")  # fmt: skip
"""What a judge that runs nothing at full size, and one program after the other, has to look for."""
HONEST_SAMPLE = ("last_arriver", "maxpool_rows", "persistent_plain_range", "gather_rows", "accumulate_in_place")
"""A few of the corpus; `kopt exploits` runs all of it."""


def entry(aim: corpus.Aim = "verdict", caught: tuple[str, ...] = (), work: str = "", name: str = "one") -> Entry:
    return Entry(name=name, category="c", aim=aim, caught=caught, work=work, problem=SCALE, kernel=SCALE.seed)


BUILT = Built(fingerprint="f", workloads=())
REFUSED = BuildFailed(phase=Phase.FALLBACK, reason="torch computes")
PASSED = Passed(judge="t", checks=())
WRONG = Incorrect(judge="t", reason="wrong")


def result(one: Entry, build=BUILT, verdict=PASSED) -> Result:
    return corpus.run([one], lambda _: {0: build}, lambda *_: {0: Judged(verdict)})[0]


def test_every_class_of_exploit_is_in_the_corpus():
    wanted = {name.strip() for name in CLASSES.replace("\n", " ").split(",")}
    assert wanted <= {one.category for one in ENTRIES}


def test_thirty_honest_kernels_of_many_styles_are_in_the_corpus():
    assert len(HONEST) >= 30
    assert len({one.category for one in HONEST}) >= 15
    assert {one.problem.name for one in HONEST} >= {"matvec", "softmax", "layernorm", "rmsnorm", "maxpool3d", "gather"}


def test_places_where_exploits_are_caught_are_phases():
    known = {f"{who} {phase.value}" for who in ("build", "judge") for phase in Phase} | {"judge incorrect"}
    assert {place for one in ENTRIES for place in one.caught} <= known


def test_exploits_of_time_name_an_honest_kernel_of_the_same_problem():
    for one in ENTRIES:
        if one.aim == "time":
            assert BY_NAME[one.work].aim == "honest"
            assert BY_NAME[one.work].problem == one.problem


@pytest.mark.parametrize("missing", ["class", "problem", "aim", "caught"])
def test_a_file_without_a_field_is_refused(tmp_path, missing):
    text = (EXPLOITS / "constant.py").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"{missing}:")]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    with pytest.raises(ProblemError, match=r"bad.py"):
        corpus.read(tmp_path, PROBLEMS)


@pytest.mark.parametrize("one", HONEST, ids=lambda one: one.name)
def test_screen_lets_honest_kernels_pass(one):
    assert screen(one.kernel) is None


@pytest.mark.parametrize("place", sorted(ROOT.glob("config/problems/*/kernel.py")), ids=lambda path: path.parent.name)
def test_screen_lets_seed_kernels_pass(place):
    assert screen(Kernel(source=place.read_text())) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import os", "imports os"),
        ("import torch.utils.cpp_extension", "cpp_extension"),
        ("from torch import _C", "_C"),
        ("import numpy.ctypeslib", "ctypeslib"),
        ("torch._C._cuda_setStream()", "private"),
        ("torch.cuda.synchronize = print", "replaces torch.cuda.synchronize"),
        ("Event = torch.cuda.Event\nEvent.elapsed_time = None", "replaces Event.elapsed_time"),
        ("type(torch).x = 1", "replaces"),
        ("del torch.allclose", "replaces"),
        ("setattr(torch, 'allclose', None)", "setattr"),
        ("getattr(torch, 'mat' + 'mul')", "put together"),
        ("getattr(torch, '_C')", "_C"),
        ("list(map(getattr, [torch], ['_C']))", "getattr without calling it"),
        ("match x:\n    case object(os=system):\n        pass", "attribute os"),
        ("match x:\n    case object(_C=inner):\n        pass", "attribute _C"),
        ("exec('1')", "exec"),
        ("__builtins__", "__builtins__"),
        ("print.__self__.exec('1')", "__self__"),
        ("torch.sys.modules", "sys"),
        ("torch.load('x')", "torch.load"),
        ("torch.serialization.pickle.loads(b'')", "is the module pickle"),
        ("import torch.serialization as s\ns.struct.pack('i', 1)", "is the module struct"),
        ("from torch.serialization import pickle", "pickle is closed"),
        ("from torch.serialization import struct as s", "struct is closed"),
        ("import enum\nenum.bltns.exec('1')", "enum.bltns"),
        ("import dataclasses\ndataclasses.keyword.kwlist", "is the module keyword"),
        ("from torch.nn import *", "imports all of torch.nn"),
        ("import functools\nfunctools.update_wrapper(torch, 1)", "update_wrapper"),
        ("import functools\nfunctools.wraps(print)(object)", "functools.wraps other than"),
        ("import functools\n@functools.wraps(print, assigned=('a',))\ndef f(): pass", "functools.wraps other than"),
        ("from functools import wraps as w\nw(print)(object)", "functools.wraps other than"),
        ("import functools\ngetattr(functools, 'wraps')(print)(object)", "getattr for wraps"),
        ("import contextlib\ncontextlib.redirect_stdout(1)", "redirect_stdout"),
        ("import torch.utils.benchmark", "benchmark is closed"),
        ("torch.utils.benchmark.Timer('1')", "benchmark is closed"),
        ("def patch(m):\n    m.allclose = 1\npatch(torch)", "hands on the module torch"),
        ("for m in (torch,):\n    m.allclose = 1", "hands on the module torch"),
        ("class A:\n    t = torch", "hands on the module torch"),
        ("(s := torch.serialization)", "hands on the module torch.serialization"),
        ("from torch.utils import bundled_inputs\n[bundled_inputs]", "hands on the module torch.utils.bundled_inputs"),
        ("s = torch.serialization\ns = (1).real\ns.struct", "is the module struct"),
        ("import math\ns = torch\nlist(s)\ns = math.pi", "hands on the module torch"),
        ("getattr(torch.serialization, 'struct')", "struct is closed"),
        ("def getattr(m, name):\n    m.allclose = 1", "another meaning to getattr"),
        ("from math import cos as hasattr", "another meaning to hasattr"),
        ("m = torch.get_device_module()\nm.synchronize = 1", "get_device_module is closed"),
        ("match x:\n    case Box(value):\n        pass", "by their position"),
        ("import copy\ncopy.dispatch_table[int] = 1", "dispatch_table"),
        ("class E:\n    def __reduce_ex__(self, p):\n        return 1", "defines __reduce_ex__"),
        ("import dataclasses\ndataclasses.dataclass(int)", "dataclass other than"),
        ("type('A', (), {})", "by type()"),
        ("{'__annotations__': {}}", "names __annotations__ in a text"),
        ("import enum\nenum.global_enum(1)", "global_enum"),
        ("torch.library.infer_schema(1)", "infer_schema is closed"),
        ("import numpy\nnumpy.testing.measure('1')", "testing is closed"),
        ("def f(torch=torch): pass", "hands on the module torch"),
        ("def f(x):\n    print([torch for torch in x])\n    print(torch)", "hands on the module torch"),
        ("def f(torch):\n    class A:\n        torch = [torch]", "hands on the module torch"),
        ("def f():\n    global torch\n    torch = 1\ndef g():\n    print(torch)", "hands on the module torch"),
        ("def f():\n    x = torch.cuda\n    print(x)", "hands on the module torch.cuda"),
        ("def f():\n    import torch.cuda as x\n    print(x)", "hands on the module torch.cuda"),
        ("(lambda: 0).__globals__", "__globals__"),
    ],
)
def test_screen_names_line_and_reason(line, words):
    found = screen(Kernel(source=f"import torch\n{line}\n"))
    assert found is not None
    assert found.phase is Phase.IMPORT
    assert words in found.reason
    assert found.reason.startswith(tuple(f"line {number}:" for number in range(2, 7)))


@pytest.mark.parametrize(
    "line",
    [
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "class A(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        self._size = 1",
        "if __name__ == '__main__':\n    pass",
        "getattr(torch, 'bfloat16')",
        "match x:\n    case object(dtype=kind):\n        pass",
        "from triton.language.extra import libdevice",
        "import functools\n@functools.wraps(print)\ndef f(*args):\n    return print(*args)",
        "from math import *",
        "import torch.nn.functional as F\ndef f(x):\n    rows, F = x.shape\n    return max(rows, F)",
        "import copy\ndef f(copy):\n    def g():\n        return [copy]\n    return g",
        "import math\ndef f(x, math=1):\n    for math in x:\n        print(math)",
        "torch.random.manual_seed(0)",
        "import torch.nn.functional as F\nF.relu",
        "import triton.language as tl\nx = tl.math.exp",
        "from triton.tools.tensor_descriptor import TensorDescriptor",
        "torch.profiler.profile",
        "half = torch.float16 if hasattr(torch, 'float8_e4m3fn') else getattr(torch, 'bfloat16', None)",
        "backends = torch.backends.cuda\nbackends.matmul.allow_tf32 = True",
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A:\n    x: int = dataclasses.field(default=1)",
        "try:\n    from triton.language.extra import libdevice\nexcept ImportError:\n"
        "    from triton.language.extra.cuda import libdevice\nlibdevice.exp",
        "y = torch.empty(1)\ny[0] = 1",
    ],
)
def test_screen_lets_pass_what_honest_kernels_write(line):
    assert screen(Kernel(source=f"import torch\n{line}\n")) is None


@given(st.sampled_from(ENTRIES))
def test_screen_does_not_depend_on_comments_and_layout(one):
    plain = Kernel(source=ast.unparse(ast.parse(one.kernel.source)))
    before, after = screen(one.kernel), screen(plain)
    assert (before is None) == (after is None)


def test_outcomes_tell_layers_apart():
    assert result(entry(), REFUSED).outcome == "caught"
    assert result(entry(), BUILT, WRONG).outcome == "caught"
    assert result(entry()).outcome == "slipped"
    assert result(entry("machine")).outcome == "slipped"
    assert result(entry("time")).outcome == "no clock"
    assert result(entry("honest")).outcome == "passed"
    assert result(entry("honest"), REFUSED).outcome == "false alarm"


@pytest.mark.parametrize(("share", "outcome"), [(0.5, "no gain"), (0.2, "slipped"), (0.45, "no gain")])
def test_a_time_is_measured_by_the_honest_kernel_that_does_the_same_work(share, outcome):
    entries = [entry("time", work="twin"), entry("honest", name="twin")]
    judged = {0: Judged(PASSED, share), 1: Judged(PASSED, 0.5)}
    results = corpus.run(entries, lambda _: {0: BUILT, 1: BUILT}, lambda *_: judged)
    assert results[0].outcome == outcome


def test_turned_away_elsewhere_than_expected_is_seen():
    launch = Failed(judge="t", phase=Phase.LAUNCH, reason="no")
    assert result(entry(caught=("judge launch",)), BUILT, launch).expected
    assert not result(entry(caught=("judge launch",)), BUILT, WRONG).expected
    assert not result(entry(caught=("judge incorrect",))).expected


def test_table_counts_by_class_and_names_what_slipped():
    text = corpus.table([result(entry(), REFUSED), result(entry(name="bad")), result(entry("honest"), BUILT, WRONG)])
    row = next(line for line in text.splitlines() if line.startswith("c "))
    assert row.split()[1:] == ["2", "1", "1", "0", "0", "0", "1"]
    assert "bad: slipped" in text
    assert "1 of 2 exploits got what they are after\n1 honest kernels, 1 false alarms" in text


def test_what_a_clock_would_have_to_settle_is_not_counted_as_settled():
    text = corpus.table([result(entry(), REFUSED), result(entry("time"))])
    assert "0 of 1 exploits got what they are after; for 1 a clock is needed" in text


def test_a_sample_goes_as_expected_through_build_and_interpreter(tmp_path):
    entries, h100 = [BY_NAME[name] for name in (*SAMPLE, *WITHOUT_GPU, *HONEST_SAMPLE)], load_device("h100", ROOT)

    def judge(some, builds):
        judged = run_with_environment(NO_GPU, 400.0, corpus.judge_by_interpreter, some, 2, 30.0, 0)
        return run_in_fresh_process(400.0, corpus.at_full_size, some, builds, judged, h100, tmp_path)

    results = corpus.run(
        entries,
        lambda some: run_with_environment(NO_GPU, 400.0, corpus.build_by_cpu, some, h100, tmp_path, 2, 60.0),
        judge,
    )
    outcomes = {one.name: (one.outcome, one.expected) for one in results}
    wanted = dict.fromkeys((*SAMPLE, *WITHOUT_GPU), ("caught", True)) | dict.fromkeys(HONEST_SAMPLE, ("passed", True))
    assert outcomes == wanted


@pytest.mark.gpu
def test_a_sample_goes_as_expected_through_the_judge_on_a_gpu(tmp_path):
    from kopt.device.hardware.peaks import known_device

    entries = [BY_NAME[name] for name in (*SAMPLE, "patched_event", "row_per_program")]
    judged = run_in_fresh_process(
        500.0, corpus.judge_by_cuda, entries, 4, 30.0, 0, run_in_fresh_process(120.0, known_device, Store(tmp_path))
    )
    results = corpus.run(entries, lambda some: dict.fromkeys(range(len(some)), BUILT), lambda *_: judged)
    assert {one.name: one.outcome for one in results} == dict.fromkeys(SAMPLE, "caught") | {
        "patched_event": "no gain",
        "row_per_program": "passed",
    }
