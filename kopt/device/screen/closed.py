"""List what of the packages that a candidate may import is closed to it, and what of other packages is open."""

from __future__ import annotations

import types

MODULES = frozenset({
    "__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "einops", "enum", "functools", "itertools",
    "logging", "math", "numbers", "numpy", "operator", "packaging", "random", "torch", "types", "typing",
    "typing_extensions", "warnings", "weakref",
})  # fmt: skip
"""Packages that any candidate may use, beside those of its language; of torch and NumPy only what is public."""

_FUNCTIONS = (
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "isinstance", "len", "list", "max",
    "min", "pow", "print", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip",
)  # fmt: skip

HARMLESS = frozenset({
    *(("builtins", name) for name in _FUNCTIONS),
    ("importlib", "metadata", "version"), ("importlib", "util", "find_spec"), ("os", "environ", "get"),
    ("os", "getenv"), ("os", "getpid"), ("os", "path", "abspath"), ("os", "path", "basename"),
    ("os", "path", "dirname"), ("os", "path", "join"), ("pytest", "mark"), ("sys", "byteorder"),
    ("sys", "float_info"), ("sys", "maxsize"), ("sys", "platform"), ("sys", "version"), ("sys", "version_info"),
})  # fmt: skip
"""Parts of other packages that a candidate may use."""

_COLLECTIVES = (
    "ProcessGroup", "ReduceOp", "all_gather", "all_gather_into_tensor", "all_reduce", "all_to_all_single", "barrier",
    "broadcast", "get_rank", "get_world_size", "group", "is_available", "is_initialized", "reduce",
    "reduce_scatter_tensor",
)  # fmt: skip

HARMLESS_INSIDE = frozenset({
    ("torch", "_C", "_cuda_getCurrentRawStream"), ("torch", "_C", "_dynamo", "guards", "_empty_strided_cuda"),
    ("torch", "_C", "_dynamo", "guards", "assert_size_stride"), ("torch", "_C", "_is_alias_of"),
    ("torch", "_C", "_overlaps"), ("torch", "_disable_dynamo"), ("torch", "_inductor", "runtime", "triton_helpers"),
    ("torch", "_prims_common", "is_boolean_dtype"), ("torch", "_prims_common", "is_complex_dtype"),
    ("torch", "_prims_common", "is_float_dtype"), ("torch", "_prims_common", "is_integer_dtype"),
    ("torch", "cuda", "_DeviceGuard"), ("torch", "cuda", "stream"), ("torch", "distributed", "tensor", "DTensor"),
    ("torch", "distributed", "tensor", "distribute_tensor"),
    ("torch", "nn", "_reduction"), ("torch", "nn", "modules"), ("torch", "ops", "inductor", "_reinterpret_tensor"),
    ("torch", "utils", "weak"), ("triton", "_utils", "TRITON_MAX_TENSOR_NUMEL"),
    ("triton", "language", "_experimental_descriptor_load"),
    ("triton", "language", "_experimental_descriptor_store"),
    ("triton", "language", "_experimental_make_tensor_descriptor"), ("triton", "language", "core", "_aggregate"),
    ("triton", "language", "core", "_unwrap_if_constexpr"), ("triton", "language", "standard", "_log2"),
    *(("torch", "distributed", name) for name in _COLLECTIVES),
})  # fmt: skip
"""Parts of the allowed packages that a candidate may use although their names are private or closed elsewhere."""

_FRAMES = (
    types.CodeType, types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType,
    types.TracebackType,
)  # fmt: skip
_OF_FRAMES = frozenset(name for kind in _FRAMES for name in dir(kind) if "_" in name and not name.startswith("_"))

CLOSED = _OF_FRAMES | {
    "ASTSource", "CUDAPluggableAllocator", "CodeType", "FileHandler", "ForwardRef", "FunctionType", "LambdaType",
    "WRAPPER_ASSIGNMENTS", "WRAPPER_UPDATES", "WatchedFileHandler", "atexit", "attrgetter", "bltns", "builtins",
    "caching_allocator_alloc", "collect_env", "compile_module_from_file", "compile_module_from_src", "concurrent",
    "copyreg", "cpp_extension", "create_binder", "ctypes", "ctypeslib", "cudart", "device_caches", "distributed",
    "evaluate_forward_ref", "from_file", "gc", "get_annotations", "get_cache_manager", "get_capture_scope",
    "get_device_module", "get_dump_manager", "get_field", "get_override_manager", "get_type_hints", "global_enum",
    "hub", "importlib", "infer_schema", "inspect", "io", "lastResort", "launcher_cls", "linecache", "load_binary",
    "load_library", "loggerDict", "make_dataclass", "metadata_group", "methodcaller", "modules", "mp",
    "multiprocessing", "new_class", "os", "pathlib", "pickle", "pickletools", "pkgutil", "preload", "prepare_class",
    "python_multiprocessing", "redirect_stderr", "redirect_stdout", "redispatch", "runstring", "setStream",
    "shutil", "singledispatch", "singledispatchmethod", "stream", "subprocess", "sys", "tarfile", "tempfile",
    "threading", "tofile", "traceback", "update_wrapper", "used_global_vals", "zipfile", "_unsafe_update_src",
}  # fmt: skip
"""Attributes and submodules that lead out of the allowed packages, to other code, or that evaluate text."""

CLOSED_PATHS = (
    ("copy", "dispatch_table"), ("logging", "config"), ("logging", "handlers"),
    ("logging", "setLogRecordFactory"), ("logging", "setLoggerClass"), ("numpy", "DataSource"), ("numpy", "f2py"),
    ("numpy", "fromfile"), ("numpy", "genfromtxt"), ("numpy", "load"), ("numpy", "loadtxt"), ("numpy", "memmap"),
    ("numpy", "fromregex"), ("numpy", "save"), ("numpy", "savetxt"), ("numpy", "savez"),
    ("numpy", "savez_compressed"), ("numpy", "testing"), ("random", "SystemRandom"), ("torch", "fx"),
    ("torch", "jit"), ("torch", "load"), ("torch", "package"), ("torch", "save"), ("torch", "utils", "benchmark"),
    ("triton", "AsyncCompileMode"), ("triton", "compile"), ("triton", "language", "core", "builtin"),
    ("triton", "profiler"), ("triton", "runtime", "_async_compile"), ("triton", "runtime", "build"),
    ("triton", "runtime", "cache"), ("triton", "runtime", "driver", "reset_active"),
    ("triton", "runtime", "driver", "set_active"), ("triton", "runtime", "interpreter"), ("weakref", "finalize"),
)  # fmt: skip
"""Parts of modules that run code from a text or a file, that write files, or that reach into a compiler's work."""

OPEN_PARTS = {
    ("torch", "library"): frozenset({
        "custom_op", "impl_abstract", "register_autograd", "register_fake", "register_kernel", "triton_op",
        "wrap_triton",
    }),
    ("triton", "backends"): frozenset({"compiler"}),
    ("triton", "backends", "compiler"): frozenset({"BaseBackend", "GPUTarget"}),
    ("triton", "compiler"): frozenset({"CompilationError", "CompiledKernel", "compiler", "errors"}),
    ("triton", "compiler", "compiler"): frozenset({"CompiledKernel"}),
    ("triton", "runtime", "jit"): frozenset({
        "JITFunction", "KernelInterface", "MockTensor", "T", "TensorWrapper", "constexpr_function", "jit",
        "reinterpret",
    }),
    ("triton", "tools"): frozenset({"mxfp", "ragged_tma", "tensor_descriptor"}),
}  # fmt: skip
"""Modules of which only some parts are open: of torch's operators what stands for the plain function when nothing is
compiled, of Triton nothing that compiles another text than the candidate's."""

KERNEL_ATTRIBUTES = frozenset({
    "ASTSource", "_hash", "_src", "base_fn", "cache_key", "create_binder", "device_caches", "fn", "hash", "parse",
    "raw_src", "rewriter", "rewritten_fn", "src", "starting_line_number",
})  # fmt: skip
"""Attributes of Triton's kernels by which Triton would compile something else than their source."""

BUILTINS = frozenset({
    "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "input", "locals", "open",
    "setattr", "vars",
})  # fmt: skip
"""Built-in functions that a candidate may not use; `getattr` with a literal name is allowed."""

DUNDERS = frozenset({
    "__all__", "__author__", "__call__", "__class__", "__contains__", "__doc__", "__enter__", "__eq__", "__exit__",
    "__file__", "__getitem__", "__hash__", "__init__", "__iter__", "__len__", "__license__", "__main__", "__module__",
    "__name__", "__next__", "__post_init__", "__qualname__", "__repr__", "__setitem__", "__slots__", "__str__",
    "__version__",
})  # fmt: skip
"""Names with two underscores on both sides that a candidate may read."""

KNOBS = ("triton", "knobs")
"""Triton's settings, which may be read and not handed on."""
KNOB_CHANGES = frozenset({"add", "copy", "knobs", "remove", "reset", "scope", "set"})
"""Methods by which settings, and hooks among them, change."""

FIND_SPEC = ("importlib", "util", "find_spec")
"""A function whose result may only be compared with None."""

ENVIRONMENT = frozenset({("os", "environ", "get"), ("os", "getenv")})
"""Functions that read a variable of the environment."""
VARIABLES = ("os", "environ")
"""Variables of the environment, of which one may be read by its name."""

CONFIGURED = frozenset({"datefmt", "force", "format", "level", "style"})
"""Arguments of `logging.basicConfig` that a candidate may give."""

DEFINED = frozenset({"__all__", "__author__", "__doc__", "__license__", "__slots__", "__version__"})
"""Names with two underscores on both sides that a candidate may bind, beside those of methods."""

TOLD_BY = ("CUDA_", "HOME", "KOPT", "NVIDIA_", "PYTHON", "TMP", "TRITON_", "XDG_")
"""Beginnings of environment variables that a judge sets."""

METHODS = frozenset({"__prepare__", "__reduce__", "__reduce_ex__"})
"""Methods that a candidate may not define: by them `copy` and `dataclass` set attributes that a text names."""

OPEN_STARS = frozenset({"__future__", "math"})
"""Packages from which `import *` is allowed, beside those of the kernel's language."""

READERS = ("getattr", "hasattr")
"""Built-in functions to which a module may be passed, together with a literal name."""

WRAPS, DATACLASS, BASIC_CONFIG = ("functools", "wraps"), ("dataclasses", "dataclass"), ("logging", "basicConfig")
"""Functions with rules of their own: `wraps` copies attributes by name, `dataclass` runs annotations as source,
`basicConfig` can open files."""

SETTINGS = ("torch", "backends")
"""Attributes below this path may be set."""
