"""Kernels of KernelAgent."""

from public.adapter import Adapter, Repository

ADAPTERS: tuple[Adapter, ...] = ()

REPOSITORY = Repository("KernelAgent", ".", ADAPTERS)
