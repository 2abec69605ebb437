"""Compile a function by `torch.compile`, with caches in a folder of its own, and pack and unpack these caches."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # a reference may take and return anything; torch does not type its caches

import torch

from kopt.device.baselines.compilations import MODES, PACKED, Subject, caches_in
from kopt.errors import DeviceError
from kopt.sandbox.environment import NO_CUDA_CALL, cuda_is_initialised, environment_set

log = logging.getLogger(__name__)

MOST_GRAPHS = 1000
"""Most graphs of one Python function: several workloads and compilations may share one."""


def load_compiler() -> None:
    """Import what `torch.compile` needs, which takes seconds, so that forks of this process inherit it.

    Raises:
        DeviceError: the imports have used CUDA, so that no fork could.
    """
    before = cuda_is_initialised()
    with environment_set(NO_CUDA_CALL):
        for name in ("torch._dynamo", "torch._inductor.compile_fx"):
            importlib.import_module(name)
    if cuda_is_initialised() and not before:
        raise DeviceError("importing the compiler of torch has used CUDA: leave `compile` and `max-autotune` out")


@contextmanager
def compiling(subject: Subject) -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Yield the function that compiles another one as a subject's baseline; the first call compiles, in the block.

    Nothing that was compiled before in this process is used again, but the caches in the subject's folder are.
    """
    import torch._dynamo.config
    import torch._inductor.config
    import torch._inductor.utils

    # No `torch._dynamo.reset()`, after which what was compiled before would be compiled again, elsewhere, when called.
    # The limit stays when the block has ended: all graphs of a process count, those of earlier blocks too.
    torch._dynamo.config.recompile_limit = MOST_GRAPHS

    with caches_in(subject.folder):
        torch._inductor.utils.clear_caches()
        packed = Path(subject.folder) / PACKED
        if packed.exists():
            _unpack(packed)
        found = any(Path(subject.folder).iterdir())
        alone = {"compile_threads": 1} if found else {}  # nothing is left for processes that compile

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, mode=MODES[subject.baseline], dynamic=False)

        with torch._inductor.config.patch(alone):
            yield compiled


def packed_caches() -> bytes:
    """Pack what this process has compiled, for `_unpack`; nothing where torch cannot."""
    try:
        saved = torch.compiler.save_cache_artifacts()
    except Exception as error:  # noqa: BLE001 - a cache of torch: without it, the next process compiles again
        log.warning("the compilation cannot be kept: %s", error)
        return b""
    return saved[0] if saved else b""


def graphs_found() -> tuple[int, int]:
    """Return how many graphs this process has found in caches, and how many it has compiled."""
    from torch._dynamo.utils import counters

    found = counters["inductor"]
    return found["fxgraph_cache_hit"], found["fxgraph_cache_miss"] + found["fxgraph_cache_bypass"]


def _unpack(packed: Path) -> None:
    """Lay packed caches into the folder of caches, once."""
    try:
        torch.compiler.load_cache_artifacts(packed.read_bytes())
    except Exception as error:  # noqa: BLE001 - a cache of torch: without it, this process compiles again
        log.warning("a kept compilation cannot be read: %s", error)
    packed.unlink()
