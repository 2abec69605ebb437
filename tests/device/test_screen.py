"""The screen refuses sources by their text, and honest kernels pass it."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.reference.rejection import no_launch_reason
from kopt.device.screen.rules import screen
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.language import LANGUAGES, LanguageFacts
from tests.device.corpus_entries import ENTRIES, HONEST, ROOT


@pytest.mark.parametrize("one", HONEST, ids=lambda one: one.name)
def test_screen_lets_honest_kernels_pass(one):
    assert screen(one.kernel) is None


@pytest.mark.parametrize("place", sorted(ROOT.glob("config/problems/*/kernel.py")), ids=lambda path: path.parent.name)
def test_screen_lets_seed_kernels_pass(place):
    assert screen(Kernel(source=place.read_text())) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import os\nos.system('1')", "uses os.system: of os a kernel may use os.environ.get"),
        ("import torch.utils.cpp_extension\ntorch.utils.cpp_extension.load()", "cpp_extension"),
        ("from torch import _C\n_C._cuda_init()", "_C"),
        ("import numpy.ctypeslib as c\nc.load_library()", "ctypeslib"),
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
        ("torch.serialization.pickle.loads(b'')", "pickle is closed"),
        ("import torch.serialization as s\ns.struct.pack('i', 1)", "struct is closed"),
        ("from torch.serialization import pickle\npickle.loads(b'')", "pickle"),
        ("from torch.serialization import struct as s\ns.pack('i', 1)", "struct"),
        ("import enum\nenum.bltns.exec('1')", "enum.bltns"),
        ("import dataclasses\ndataclasses.keyword.kwlist", "keyword is closed"),
        ("from torch.nn import *", "imports all of torch.nn"),
        ("import functools\nfunctools.update_wrapper(torch, 1)", "update_wrapper"),
        ("import functools\nfunctools.wraps(print)(object)", "functools.wraps other than"),
        ("import functools\n@functools.wraps(print, assigned=('a',))\ndef f(): pass", "functools.wraps other than"),
        ("from functools import wraps as w\nw(print)(object)", "functools.wraps other than"),
        ("import functools\ngetattr(functools, 'wraps')(print)(object)", "getattr for wraps"),
        ("import contextlib\ncontextlib.redirect_stdout(1)", "redirect_stdout"),
        ("import torch.utils.benchmark as b\nb.Timer('1')", "benchmark is closed"),
        ("torch.utils.benchmark.Timer('1')", "benchmark is closed"),
        ("def patch(m):\n    m.allclose = 1\npatch(torch)", "hands on the module torch"),
        ("for m in (torch,):\n    m.allclose = 1", "hands on the module torch"),
        ("class A:\n    t = torch", "hands on the module torch"),
        ("(s := torch.serialization)", "hands on the module torch.serialization"),
        ("from torch.utils import bundled_inputs\n[bundled_inputs]", "hands on the module torch.utils.bundled_inputs"),
        ("s = torch.serialization\ns = (1).real\ns.struct", "struct is closed"),
        ("import math\ns = torch\nlist(s)\ns = math.pi", "hands on the module torch"),
        ("getattr(torch.serialization, 'struct')", "struct is closed"),
        ("def getattr(m, name):\n    m.allclose = 1\ngetattr(torch, 'cuda')", "another meaning to getattr"),
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
    found = screen(Kernel(source=f"import torch\n{line}\n[f, g]\n"))
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
