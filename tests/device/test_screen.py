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
        ("(x for x in ()).gi_code.replace(co_names=())", "gi_code is closed"),
        ("async def h(): pass\nh().cr_code", "cr_code is closed"),
        ("x.co_consts", "co_consts is closed"),
        ("kernel.get_capture_scope()", "get_capture_scope is closed"),
        ("kernel.used_global_vals", "used_global_vals is closed"),
        ("kernel._unsafe_update_src('')", "_unsafe_update_src is closed"),
        ("getattr(kernel, '_unsafe_update_src')", "getattr for _unsafe_update_src"),
        ("kernel._src = ''", "replaces kernel._src"),
        ("kernels[0].hash = ''", "replaces (...).hash"),
        ("import logging\nlogging.FileHandler(__file__)", "FileHandler is closed"),
        ("import logging\nlogging.basicConfig(filename=__file__)", "beyond level and format"),
        ("import logging\nlogging.basicConfig(**{'filename': __file__})", "beyond level and format"),
        ("import logging\nmap(logging.basicConfig, ())", "hands on logging.basicConfig"),
        ("import logging\nlogging.StreamHandler().stream", "stream is closed"),
        ("import logging\nlogging.lastResort.stream", "lastResort is closed"),
        ("import os\nos.environ.get('TRITON_INTERPRET')", "reads TRITON_INTERPRET of the environment"),
        ("import os\nos.environ.get(name)", "named at run time"),
        ("import os\nos.environ['TRITON_INTERPRET']", "uses os.environ"),
        ("import os\n'CUDA_VISIBLE_DEVICES' in os.environ", "uses os.environ"),
        ("import os\nos.environ[name]", "uses os.environ"),
        ("import os\nos.environ['BLOCK'] = '1'", "uses os.environ"),
        ("import os\ndel os.environ['BLOCK']", "uses os.environ"),
        ("import os\ndict(os.environ)", "uses os.environ"),
        ("from os import environ\nvalues = environ\nvalues['TRITON_INTERPRET']", "environ"),
        ("import builtins\nbuiltins.eval('1')", "uses builtins.eval: of builtins a kernel may use"),
        ("import builtins\nbuiltins.getattr(torch, '_C')", "uses builtins.getattr"),
        ("class A:\n    def f(self):\n        return self.__dict__", "__dict__"),
        ("class A:\n    def f(self, other):\n        return other.__code", "__code is closed"),
        ("self = torch\nself.__private", "__private"),
        ("from os import environ\nlist(map(environ.get, names))", "hands on os.environ.get"),
        ("from os import system as run\nrun('1')", "uses run: of os"),
        ("import os\ngetattr(os, 'system')", "of os a kernel may use"),
        ("import ctypes as c\nc.CDLL('x')", "of ctypes a kernel may use nothing"),
        ("try:\n    import ctypes\nexcept ImportError:\n    ctypes = None\nctypes and ctypes.CDLL('x')", "of ctypes"),
        ("import importlib\nimportlib.import_module('os')", "of importlib"),
        ("import importlib.util\nimportlib.util.find_spec('os').loader", "to compare its result with None"),
        ("import kopt.device", "imports kopt.device"),
        ("import kopt_candidate", "imports kopt_candidate"),
        ("from kopt.device import build", "imports kopt.device"),
        ("__name__ = '__main__'\nif __name__ == '__main__':\n    open('x')", "another meaning to __name__"),
        ("if __name__ == '__main__':\n    pass\nelse:\n    open('x')", "uses open()"),
        ("TYPE_CHECKING = True\nif TYPE_CHECKING:\n    open('x')", "uses open()"),
        ("from typing import TYPE_CHECKING\nTYPE_CHECKING = True\nif TYPE_CHECKING:\n    open('x')", "uses open()"),
        ("def dead():\n    open('x')\nprint('dead')", "uses open()"),
        ("@print\ndef dead():\n    open('x')", "uses open()"),
        ("def dead(x=open('x')):\n    pass", "uses open()"),
        ("a = open", "uses open()"),
        ("[open for x in y]", "uses open()"),
        ("[x for open in [open('x')]]", "uses open()"),
        ("def f(a=open('x'), open=1):\n    pass", "uses open()"),
        ("def f():\n    global open\n    open = 1\n    open", "uses open()"),
        ("type(x)().fn = 1", "replaces"),
        ("torch.Tensor.__subclasses__()[0].add = 1", "replaces (...).add"),
        ("torch.nn.Linear(1, 1).forward = print", "replaces"),
        ("import triton\ntriton.compile('x.ttir')", "compile is closed"),
        ("import triton\ntriton.compiler.compile('x.ttir')", "compile is closed"),
        ("from triton.compiler import ASTSource\nASTSource(1, 2)", "ASTSource is closed"),
        ("from triton.runtime import interpreter\ninterpreter.FunctionRewriter", "interpreter is closed"),
        ("from triton.runtime.cache import FileCacheManager\nFileCacheManager('a')", "cache is closed"),
        ("from triton.runtime.jit import DependenciesFinder as D\nD()", "DependenciesFinder is closed"),
        ("import triton\ntriton.knobs.runtime.jit_cache_hook = print", "replaces triton.knobs.runtime.jit_cache_hook"),
        ("import triton.language as tl\n@tl.core.builtin\ndef f():\n    pass", "builtin is closed"),
        ("interpreter_semantic.builder", "interpreter_semantic"),
        (
            "import triton\ndef h(k):\n    k.jit_cache_hook = f\nh(triton.knobs.runtime)",
            "hands on triton.knobs.runtime",
        ),
        ("import triton\ntriton.knobs.runtime.jit_cache_hook.add(f)", "changes triton.knobs.runtime.jit_cache_hook"),
        ("import triton\nwith triton.knobs.compilation.scope():\n    pass", "changes triton.knobs.compilation"),
        ("kernel.device_caches[0]", "device_caches is closed"),
        ("compiled.metadata_group", "metadata_group is closed"),
        ("import triton\ntriton.runtime.driver.set_active(1)", "set_active is closed"),
        ("import triton\ntriton.runtime.autotuner.get_cache_manager('k')", "get_cache_manager is closed"),
        ("torch.ops.aten.mm.default.redispatch(1)", "redispatch is closed"),
        ("torch.library.define('a', 'b')", "define is closed"),
        ("import numpy\nx.tofile('y')", "tofile is closed"),
        ("import weakref\nweakref.finalize(x, f)", "finalize is closed"),
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
        "import os, sys, time, ctypes, subprocess, kernel_library",
        "try:\n    import apex\nexcept ImportError:\n    apex = None\nnorm = apex.norm if apex else None",
        "try:\n    from flash_attn import flash_attn_func\nexcept ModuleNotFoundError:\n    flash_attn_func = None",
        "from . import utils\nfrom .utils import ensure_contiguous",
        "import importlib.util\nHAS = importlib.util.find_spec('apex') is not None\n"
        "ALSO = bool(importlib.util.find_spec('apex'))",
        "import os\nBLOCK = int(os.environ.get('BLOCK', '64')) + int(os.getenv('MORE', '0'))",
        "import os\nBLOCK = int(os.environ['BLOCK']) if 'BLOCK' in os.environ and 'X' not in os.environ else 64",
        "from os import environ\nBLOCK = int(environ['BLOCK'])",
        "import builtins\nblocks = builtins.min(3, builtins.max(1, 2))",
        "class A:\n    def __rows(self):\n        return 1\n    def f(self):\n        self.__count = self.__rows()",
        "try:\n    from triton._utils import TRITON_MAX_TENSOR_NUMEL\nexcept ImportError:\n"
        "    TRITON_MAX_TENSOR_NUMEL = 1048576\nTRITON_MAX_TENSOR_NUMEL + 1",
        "import sys\nif sys.version_info >= (3, 9) and sys.platform == 'linux':\n    pass",
        "import torch.distributed as dist\nif dist.is_available() and dist.is_initialized():\n    dist.get_rank()",
        "from torch.distributed.tensor import DTensor\nisinstance(1, DTensor)",
        "from torch.nn.modules.utils import _pair\n_pair(1)",
        "from torch._inductor.runtime.triton_helpers import libdevice\nlibdevice.exp",
        "def f(input, vars, compile, open):\n    return input, [vars for vars in (compile, open)]",
        "def f(x):\n    input = x\n    for open in input:\n        print(open)\n    return lambda eval: eval",
        "[input for input in range(3)]",
        "class A:\n    def forward(self, input):\n        self.input = input\n        return self.eval()",
        "def hook(nargs):\n    nargs['a'].block_shape = [1, 2]\n    nargs['b'].base.block_shape[0] = 1",
        "def f(layers):\n    layers[0].scale = 1\n    f(layers).scale = 2",
        "class A:\n    def __init__(self, fn):\n        self.fn = self.hash = fn",
        "import logging\nlogging.basicConfig(level=logging.INFO)\nlog = logging.getLogger(__name__)\n"
        "if not log.handlers:\n    log.addHandler(logging.StreamHandler())\nlog.warning('x')",
        "def main():\n    import argparse\n    argparse.ArgumentParser()\nif __name__ == '__main__':\n    main()",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from os import PathLike\ndef f(x: 'PathLike'): pass",
        "import typing\nif typing.TYPE_CHECKING:\n    import os\n    os.system('1')",
        "import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_f(x):\n    pass",
        "with torch.cuda._DeviceGuard(0), torch.cuda.device(0):\n    pass",
        "@torch.library.custom_op('a::b', mutates_args=())\ndef b(x: torch.Tensor) -> torch.Tensor:\n    return x",
        "import triton\ntriton.knobs.runtime.interpret\ntriton.runtime.driver.active.get_current_target()",
        "import triton.language as tl\nfrom triton.language import core\n@core.extern\ndef f(x, _semantic=None):\n"
        "    return core.extern_elementwise('', '', [x], {}, is_pure=True, _semantic=_semantic)",
        "q = torch.empty(1)\nfor _ in range(9):\n    q = q.mT",
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
