"""Compile a function by `torch.compile`, with caches in a folder of its own, and pack and unpack these caches."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any  # a reference may take and return anything; torch does not type its caches

from kopt.device.baselines.compilations import COUNTS, INDUCTOR, MODES, Subject, caches_in, unpack
from kopt.errors import DeviceError
from kopt.sandbox.environment import NO_CUDA_CALL, cuda_is_initialised, environment_set

log = logging.getLogger(__name__)

Idle = Callable[[], AbstractContextManager[None]]

COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")
"""Modules without which nothing is compiled."""
LATER = (
    "torch._inductor.choices", "torch._inductor.fx_passes.pad_mm", "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.codegen.wrapper_fxir", "torch.export._trace", "triton.compiler.code_generator",
)  # fmt: skip
"""Modules that the first compilation of a process imports; some versions of torch lack some of them."""
WAITS = (
    ("torch._inductor.async_compile", "AsyncCompile", "wait", False),
    ("torch._inductor.runtime.triton_heuristics", "CachingAutotuner", "_precompile_config", False),
    ("torch._inductor.select_algorithm", "AlgorithmSelectorCache", "make_precompile_fn", True),
)
"""Methods of Inductor that wait for Triton's compiler: module, class, name, and whether the method returns the function
that waits; some versions of torch lack some of them."""
TUNED_ONCE = {"use_static_cuda_launcher": False}
"""Setting of Inductor with which the next process uses the configurations that it finds tuned: kernels that are
launched without Triton are tuned anew by coordinate descent where the best configuration was among the first ones."""
CHOICE = ".best_config"
"""End of the names of the files in which Inductor keeps the configurations that it has tuned."""
MOST_GRAPHS = 1000
"""Most graphs of one Python function: several workloads and compilations may share one."""


def load_compiler() -> None:
    """Import what `torch.compile` needs, which takes seconds, so that forks of this process inherit it.

    Raises:
        DeviceError: the imports have used CUDA, so that no fork could.
    """
    before = cuda_is_initialised()
    with environment_set(NO_CUDA_CALL):
        for name in COMPILER:
            importlib.import_module(name)
        for name in LATER:
            with suppress(ModuleNotFoundError):
                importlib.import_module(name)
        importlib.import_module("torch._inductor.codecache").torch_key()  # hashes the files of torch, once
    if cuda_is_initialised() and not before:
        raise DeviceError("importing the compiler of torch has used CUDA: leave `compile` and `max-autotune` out")


@contextmanager
def compiling(
    subject: Subject, idle: Idle = nullcontext
) -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Yield the function that compiles another one as a subject's baseline; the first call compiles, in the block.

    Nothing that was compiled before in this process is used again, but the caches in the subject's folder are.  What
    torch prints meanwhile, hundreds of lines by max-autotune, goes to a file beside this folder.

    Args:
        subject: the baseline, or one compilation of it.
        idle: makes the block in which the process waits for Triton's compiler alone, and does not use the GPU.
    """
    import torch._dynamo.config
    import torch._inductor.config
    import torch._inductor.utils

    # No `torch._dynamo.reset()`, after which what was compiled before would be compiled again, elsewhere, when called.
    # The limit stays when the block has ended: all graphs of a process count, those of earlier blocks too.
    torch._dynamo.config.recompile_limit = MOST_GRAPHS

    unpack(Path(subject.folder))
    with caches_in(subject.folder), _printed_to(f"{subject.folder}.txt"):
        torch._inductor.utils.clear_caches()
        found = (Path(subject.folder) / INDUCTOR).exists()
        settings = {"compile_threads": 1} if found else {}  # nothing is left for processes that compile
        if subject.baseline in COUNTS:
            settings |= TUNED_ONCE

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, mode=MODES[subject.baseline], dynamic=False)

        with torch._inductor.config.patch(settings), _choices_kept(Path(subject.folder)), _inside(idle):
            yield compiled


@contextmanager
def _inside(idle: Idle) -> Iterator[None]:
    """Enter a block of `idle` whenever Inductor waits for Triton's compiler, in the main thread.

    Its other threads may compile while the main thread uses the GPU.
    """

    def within(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with idle() if threading.current_thread() is threading.main_thread() else nullcontext():
                return function(*args, **kwargs)

        return called

    def making(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def made(*args: Any, **kwargs: Any) -> Any:
            return within(function(*args, **kwargs))

        return made

    with ExitStack() as undo:
        for module, owner, name, changed in WAITS:
            holder = getattr(importlib.import_module(module), owner, None)
            function = getattr(holder, name, None)
            if function is not None:
                undo.callback(setattr, holder, name, function)
                setattr(holder, name, (making if changed else within)(function))
        yield


@contextmanager
def _choices_kept(folder: Path) -> Iterator[None]:
    """Leave the choices of coordinate descent that were made before the block as they were, for the next process.

    Inductor writes such a choice again without its mark, where it was timed beside others, so that every other process
    would tune it again, for up to 14 s.
    """
    choices = {path: path.read_bytes() for path in (folder / INDUCTOR).rglob(f"*{CHOICE}")}
    try:
        yield
    finally:
        for path, content in choices.items():
            with suppress(OSError):
                if _is_tuned(content) and not _is_tuned(path.read_bytes()):
                    path.write_bytes(content)


def _is_tuned(choice: bytes) -> bool:
    """Return whether a file of Inductor's says that its choice was tuned by coordinate descent."""
    try:
        return bool(json.loads(choice).get("found_by_coordesc"))
    except (ValueError, AttributeError):
        return False


@contextmanager
def _printed_to(path: str) -> Iterator[None]:
    """Let what this process prints go to a file, inside the block, whichever library prints it."""
    streams = {1: sys.stdout, 2: sys.stderr}
    for stream in streams.values():
        stream.flush()
    kept = {number: os.dup(number) for number in streams}
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for number in streams:
            os.dup2(file, number)
        yield
    finally:
        for number, stream in streams.items():
            with suppress(OSError):
                stream.flush()
            os.dup2(kept[number], number)
            os.close(kept[number])
        os.close(file)


def packed_caches(folder: str) -> bytes:
    """Pack the caches of a compilation's folder, for `unpack`.

    They are packed whole: what torch packs itself lacks configurations that Inductor has tuned, which the next process
    would tune again, for seconds on the GPU, and maybe otherwise.  Nothing is returned where a file cannot be read.
    """
    packed = io.BytesIO()
    try:
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            tar.add(folder, arcname=".", filter=lambda member: member if member.isdir() or member.isreg() else None)
    except OSError as error:
        log.warning("the compilation cannot be kept: %s", error)
        return b""
    return packed.getvalue()


def graphs_found() -> tuple[int, int]:
    """Return how many graphs this process has found in caches, and how many it has compiled."""
    from torch._dynamo.utils import counters

    found = counters["inductor"]
    return found["fxgraph_cache_hit"], found["fxgraph_cache_miss"] + found["fxgraph_cache_bypass"]
