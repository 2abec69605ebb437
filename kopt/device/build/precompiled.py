"""Carry compiled kernels from the CPU stage to the process that launches them, as entries of Triton's own cache.

Triton finds an entry by a digest of the kernel's source, options, environment and of Triton itself.  It does not find
an entry that does not match, and compiles the kernel again, so a wrong entry cannot change what a source does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from kopt import artifact
from kopt.errors import StoreError
from kopt.model.base import Value
from kopt.model.build import Built, KernelDigests, WorkloadBuild
from kopt.store import Store

ENTRY = "entry"
"""Kind of these entries in the store."""
NAME_CHARS = 150
"""Length to which Triton cuts the names of its files, characters."""
PATHS = ("extern_libs",)
"""Fields of Triton's metadata that name files of this machine, and that no launch reads."""


class Entry(Value):
    """The data that Triton needs, beside PTX and cubin, to load a kernel instead of compiling it."""

    key: str = Field(pattern=r"^([0-9a-f]{2})+$")
    """Triton's digest of source, options, versions and environment."""
    name: str = Field(pattern=r"^[^/\x00]+$", max_length=NAME_CHARS)
    """Triton's name for the files of the entry, without suffix."""
    metadata: str
    """Triton's metadata of the kernel, JSON."""


@dataclass(frozen=True)
class Precompiled:
    """An entry with its PTX and cubin, as they lie in the store."""

    entry: bytes
    ptx: bytes
    cubin: bytes


@dataclass(frozen=True)
class Compiled:
    """The kernels of one candidate that the CPU stage compiled."""

    cubins: frozenset[str]
    """Digests of the cubins of its build; in calls that are recorded the candidate may launch no others."""
    kernels: tuple[Precompiled, ...]
    """Kernels that the store still holds, the build's last; any other is compiled again."""


def compiled(build: Built, store: Store | None, further: Sequence[KernelDigests] = ()) -> Compiled:
    """Read from the store the compiled kernels that a build names, and those for further workloads."""
    own = kernel_digests(build.workloads)
    kernels = [*(one for one in further if one not in own), *own]
    cubins = frozenset(launch.cubin for workload in build.workloads for launch in workload.launches)
    return Compiled(cubins, tuple(_stored(kernels, store)) if store is not None else ())


def kernel_digests(workloads: Iterable[WorkloadBuild]) -> tuple[KernelDigests, ...]:
    """List the compiled kernels of workloads, each once, in the order of their launches."""
    launches = [launch for workload in workloads for launch in workload.launches if launch.entry]
    return tuple(dict.fromkeys(KernelDigests(entry=one.entry, ptx=one.ptx, cubin=one.cubin) for one in launches))


def _stored(kernels: Sequence[KernelDigests], store: Store) -> Iterator[Precompiled]:
    """Yield the kernels that the store holds."""
    for one in kernels:
        with suppress(StoreError):
            yield Precompiled(
                store.blob(ENTRY, one.entry, ".json"),
                store.blob("ptx", one.ptx, ".ptx"),
                store.blob("cubin", one.cubin, ".cubin"),
            )


def is_entry(content: bytes) -> bool:
    """Return whether bytes, which may come from a candidate, are an entry that can be put into a cache."""
    try:
        Entry.model_validate_json(content)
    except ValueError:
        return False
    return True


def quiet_compiler() -> None:
    """Have Triton compile without line information, so that paths and comments do not reach the compiled code.

    CPU stage and GPU judge must both do this: the compiled kernel is found again only if both compile alike.
    """
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    os.environ["TRITON_FRONT_END_DEBUGGING"] = "0"


def entry_of(kernel: Any) -> bytes:
    """Return the entry of a kernel that Triton has just compiled in this process.

    Args:
        kernel: a `triton.compiler.CompiledKernel`; `Any`, since Triton ships no types.

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
    """Put kernels into this process's Triton cache; of two with one key the later one stays."""
    from triton.runtime.cache import get_cache_manager

    for kernel in kernels:
        entry = Entry.model_validate_json(kernel.entry)
        cache = get_cache_manager(entry.key)
        files = {"json": entry.metadata.encode(), "ptx": kernel.ptx, "cubin": kernel.cubin}
        group = {f"{entry.name}.{kind}": cache.put(text, f"{entry.name}.{kind}") for kind, text in files.items()}
        cache.put_group(f"{entry.name}.json", group)
