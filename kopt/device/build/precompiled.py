"""Compiled kernels on their way from the CPU stage to the process that launches them: entries of Triton's own cache.

Triton finds an entry by a digest of the kernel's source, options, environment and of itself.  One that does not match
is not found, and the kernel is compiled anew: nothing here can make another kernel of a source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopt import artifact
from kopt.errors import StoreError
from kopt.model.base import Value
from kopt.model.build import Built, Launch
from kopt.store import Store

ENTRY = "entry"
"""The store's kind of these."""
NAME_CHARS = 150
"""Triton cuts the names of its files here."""
PATHS = ("extern_libs",)
"""Metadata that names files of this machine, and that no launch reads."""


class Entry(Value):
    """What Triton needs to load a cubin instead of compiling."""

    key: str
    """Triton's digest of what it would compile."""
    name: str
    """What it calls its files."""
    metadata: str
    """Its metadata, JSON."""


@dataclass(frozen=True)
class Precompiled:
    """An entry with its texts, as they lie in the store."""

    entry: bytes
    ptx: bytes
    cubin: bytes


@dataclass(frozen=True)
class Compiled:
    """What the CPU stage made of one kernel."""

    cubins: frozenset[str]
    """Digests of all its cubins; it may launch no others."""
    kernels: tuple[Precompiled, ...]
    """Those that the store still holds."""


def all_compiled(builds: Mapping[str, Built | None], store: Store | None) -> dict[str, Compiled]:
    """`compiled` of every build that is known, by name."""
    return {name: compiled(build, store) for name, build in builds.items() if build is not None}


def compiled(build: Built, store: Store | None) -> Compiled:
    """What a build names, read from the store; what is gone there is compiled again."""
    launches = [launch for workload in build.workloads for launch in workload.launches]
    found = tuple(_texts(launches, store)) if store is not None else ()
    return Compiled(frozenset(launch.cubin for launch in launches), found)


def _texts(launches: Sequence[Launch], store: Store) -> Iterator[Precompiled]:
    for entry, ptx, cubin in sorted({(one.entry, one.ptx, one.cubin) for one in launches if one.entry}):
        with suppress(StoreError):
            yield Precompiled(
                store.blob(ENTRY, entry, ".json"), store.blob("ptx", ptx, ".ptx"), store.blob("cubin", cubin, ".cubin")
            )


def quiet_compiler() -> None:
    """Have Triton compile without line information, so that neither path nor comments leave a trace.

    What is compiled here and what is compiled there is the same, and found, only if both say so.
    """
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    os.environ["TRITON_FRONT_END_DEBUGGING"] = "0"


def entry_of(kernel: Any) -> bytes:
    """The entry of a kernel that Triton has just compiled in this process.

    Args:
        kernel: a `triton.compiler.CompiledKernel`.

    Raises:
        FileNotFoundError: Triton's cache does not hold it.
    """
    from triton.runtime.cache import get_cache_manager

    name = kernel.src.name[:NAME_CHARS]
    file = f"{name}.json"
    path = (get_cache_manager(kernel.hash).get_group(file) or {}).get(file)
    if path is None:
        raise FileNotFoundError(f"Triton's cache holds no {file}")
    metadata = {key: value for key, value in json.loads(Path(path).read_text()).items() if key not in PATHS}
    entry = Entry(key=kernel.hash, name=name, metadata=artifact.canonical_json(metadata))
    return artifact.canonical_json(entry.model_dump(mode="json")).encode()


def install(kernels: Sequence[Precompiled]) -> None:
    """Put kernels into this process's Triton cache."""
    from triton.runtime.cache import get_cache_manager

    for one in kernels:
        entry = Entry.model_validate_json(one.entry)
        cache = get_cache_manager(entry.key)
        files = {"json": entry.metadata.encode(), "ptx": one.ptx, "cubin": one.cubin}
        group = {f"{entry.name}.{kind}": cache.put(text, f"{entry.name}.{kind}") for kind, text in files.items()}
        cache.put_group(f"{entry.name}.json", group)
