"""Set environment variables of this process at the edge of a job, before a library reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Variable that says which GPUs CUDA may use."""
NO_GPU: Mapping[str, str] = {GPU_VARIABLE: ""}
"""Environment of a process that is to see no GPU."""


@contextmanager
def environment_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for the length of a block; processes that it starts inherit them.

    A library that reads a variable once keeps what it has read: CUDA, once initialised, stays bound.

    Args:
        variables: values by name.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
