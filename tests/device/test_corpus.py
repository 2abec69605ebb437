import ast
import importlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.commands.parts import corpus, corpus_layers
from kopt.commands.parts.corpus import Entry, Judgement, Result
from kopt.device.build.build import LIMITS
from kopt.device.build.trace import trace
from kopt.device.reference.compare import Contract, ExpectedOutput
from kopt.device.reference.distributions import Draw
from kopt.device.reference.rejection import Rejected, no_launch_reason
from kopt.device.screen.rules import screen
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.build import BuildFailed, Built, Phase
from kopt.model.kernel import Kernel
from kopt.model.language import LANGUAGES, LanguageFacts
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.sandbox.pipe import Report
from kopt.sandbox.pool import Returned, run_forked
from kopt.store import Store
from tests.device.small import H100, SCALE

torch.set_num_threads(1)  # this process is forked

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
PATCHING = ("patched_judge", "patched_tracer")
"""Exploits that import modules of kopt and replace what is in them."""
HONEST_SAMPLE = ("last_arriver", "maxpool_rows", "persistent_plain_range", "gather_rows", "accumulate_in_place")
"""A few of the corpus; `kopt exploits` runs all of it."""


def entry(aim: corpus.Aim = "verdict", caught: tuple[str, ...] = (), work: str = "", name: str = "one") -> Entry:
    return Entry(name=name, category="c", aim=aim, caught=caught, work=work, problem=SCALE, kernel=SCALE.seed)


BUILT = Built(fingerprint="f", workloads=())
REFUSED = BuildFailed(phase=Phase.FALLBACK, reason="torch computes")
PASSED = Passed(judge="t", checks=())
WRONG = Incorrect(judge="t", reason="wrong")


def result(one: Entry, build=BUILT, verdict=PASSED) -> Result:
    return corpus.run([one], lambda _: {0: build}, lambda *_: {0: Judgement(verdict)})[0]


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


def test_a_kernel_may_import_the_packages_of_its_language_and_of_no_other(monkeypatch):
    monkeypatch.setitem(LANGUAGES, "other", LanguageFacts("Other", frozenset({"json"})))
    sources = {package: f"import torch\nfrom {package} import *\n" for package in ("triton", "json")}
    refused = {
        (language, package)
        for language in LANGUAGES
        for package, source in sources.items()
        if screen(Kernel.model_construct(source=source, language=language)) is not None
    }
    assert refused == {("triton", "json"), ("other", "triton")}
    assert no_launch_reason("other") == "the entry point launches no Other kernel"


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
    judged = {0: Judgement(PASSED, share), 1: Judgement(PASSED, 0.5)}
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


def kopt_names(source: str) -> dict[str, str]:
    """The modules of kopt that a source imports, by the names that it gives them."""
    names = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: module for name, module in names.items() if module.split(".")[0] == "kopt"}


def used_attributes(source: str) -> Iterator[str]:
    """Dotted paths of the attributes of kopt's modules that a source names."""
    names = kopt_names(source)
    for node in ast.walk(ast.parse(source)):
        name, _, attributes = ast.unparse(node).partition(".") if isinstance(node, ast.Attribute) else ("", "", "")
        if name in names:
            yield f"{names[name]}.{attributes}"


def patch_of(source: str) -> tuple[str, str]:
    """The statements of a source that replace something of kopt, and the source without them."""
    tree, names = ast.parse(source), kopt_names(source)
    patch = [
        node for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        and any(name in ast.unparse(node) for name in ("import kopt", *(f"{name}." for name in names)))
    ]  # fmt: skip
    rest = [node for node in tree.body if node not in patch]
    return "\n".join(map(ast.unparse, patch)), ast.unparse(ast.Module(rest, []))


def test_exploits_that_patch_kopt_are_those_that_import_it():
    assert {one.name for one in ENTRIES if kopt_names(one.kernel.source)} == set(PATCHING)


@pytest.mark.parametrize("name", PATCHING)
def test_what_an_exploit_patches_in_kopt_is_there(name):
    paths = set(used_attributes(BY_NAME[name].kernel.source))
    assert paths
    for path in paths:
        place, found = path.split("."), None
        for length in range(len(place), 0, -1):
            try:
                found = importlib.import_module(".".join(place[:length]))
            except ModuleNotFoundError:
                continue
            for attribute in place[length:]:
                found = getattr(found, attribute)
            break
        assert found is not None


def _verdicts_on_a_wrong_output(patch: str) -> tuple[bool, bool]:
    """Whether the judge's comparison takes a wrong output for right, before and after a patch in its process."""
    from kopt.device.interpret import judge

    wrong, right = torch.zeros(2, 3), torch.ones(2, 3)
    expected = ExpectedOutput(Contract((2, 3), torch.float32, "cpu"), right.double(), right.double() * 0.1)
    draw = Draw(SCALE.small[0], "normal", 1)
    before = judge.compare(wrong, expected, draw).right
    exec(patch, {})
    return before, judge.compare(wrong, expected, draw).right


def test_the_patch_of_the_comparison_would_fool_a_judge_in_the_same_process():
    patch, _ = patch_of(BY_NAME["patched_judge"].kernel.source)
    assert run_in_fresh_process(120.0, _verdicts_on_a_wrong_output, patch) == (False, True)


def _traced_unscreened(one: Entry, source: str, report: Report) -> bytes:
    """Trace a source that no screen has seen: its host operations, or the phase in which it is rejected."""
    try:
        traced = trace(Kernel(source=source), one.problem, H100, Path.cwd(), report.phase)
    except Rejected as rejected:
        return json.dumps([rejected.phase]).encode()
    return json.dumps([operation.name for operation in traced[0].build.host_ops]).encode()


def test_the_patch_of_the_kinds_of_operations_would_fool_the_tracer():
    one = BY_NAME["patched_tracer"]
    tasks = [partial(_traced_unscreened, one, text) for text in (one.kernel.source, patch_of(one.kernel.source)[1])]
    replies = dict(run_forked(tasks, workers=2, limits=LIMITS))
    assert all(isinstance(outcome, Returned) for outcome in replies.values()), replies
    patched, plain = (json.loads(replies[place].value) for place in (0, 1))
    assert any("aten.mm" in name for name in patched), patched
    assert plain == [Phase.FALLBACK]


def test_a_sample_goes_as_expected_through_build_and_interpreter(tmp_path):
    entries = [BY_NAME[name] for name in (*SAMPLE, *WITHOUT_GPU, *PATCHING, *HONEST_SAMPLE)]
    h100 = load_device("h100", ROOT)

    def judge(some, builds):
        judged = run_with_environment(NO_GPU, 400.0, corpus_layers.judge_by_interpreter, some, 2, 90.0, 0)
        return run_in_fresh_process(400.0, corpus_layers.judge_by_work, some, builds, judged, h100, tmp_path)

    def build(some):
        return run_with_environment(NO_GPU, 400.0, corpus_layers.build_by_cpu, some, h100, tmp_path, 2, 60.0)

    results = corpus.run(entries, build, judge)
    outcomes = {one.name: (one.outcome, one.expected) for one in results}
    caught = dict.fromkeys((*SAMPLE, *WITHOUT_GPU, *PATCHING), ("caught", True))
    assert outcomes == caught | dict.fromkeys(HONEST_SAMPLE, ("passed", True))
    by_judge = {one.name: one.judge for one in results if one.name in PATCHING}
    assert by_judge == dict.fromkeys(PATCHING, "incorrect")  # the patches are no error there, and change no verdict


@pytest.mark.gpu
def test_a_sample_goes_as_expected_through_the_judge_on_a_gpu(tmp_path):
    from kopt.device.hardware.peaks import known_device

    entries = [BY_NAME[name] for name in (*SAMPLE, "patched_event", "row_per_program")]
    gpu = run_in_fresh_process(120.0, known_device, Store(tmp_path))
    judged = run_in_fresh_process(500.0, corpus_layers.judge_by_cuda, entries, 4, 30.0, 0, gpu)
    results = corpus.run(entries, lambda some: dict.fromkeys(range(len(some)), BUILT), lambda *_: judged)
    assert {one.name: one.outcome for one in results} == dict.fromkeys(SAMPLE, "caught") | {
        "patched_event": "no gain",
        "row_per_program": "passed",
    }
