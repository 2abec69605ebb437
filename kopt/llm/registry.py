"""Find a provider by its name in the model table: a module of `kopt.llm.providers`, imported when it is asked for."""

from __future__ import annotations

import importlib

from kopt.discovery import modules_of
from kopt.llm.provider import Body, Provider
from kopt.llm.request import Request
from kopt.llm.table import PROVIDERS, Model


def provider_named(name: str) -> Provider:
    """Load the provider that a model table names; its SDK is loaded when a connection is made."""
    provider: Provider = importlib.import_module(f"{PROVIDERS}.{name.replace('-', '_')}").PROVIDER
    return provider


def all_providers() -> list[Provider]:
    """Load every provider, in order of name."""
    return [module.PROVIDER for module in modules_of("kopt.llm.providers").values()]


def portable_provider() -> Provider:
    """Load the provider whose protocol most servers take."""
    return next(provider for provider in all_providers() if provider.is_portable)


def full_body(request: Request, entry: Model) -> Body:
    """Write a request's body, without the fields that ask for a stream; a further field that is null removes one."""
    body = provider_named(entry.provider).body(request, entry) | request.sampling.extra
    return {name: value for name, value in body.items() if value is not None}


def caches_marked_prefix(entry: Model) -> bool:
    """Return whether calls to this model write a prompt cache at a price, which sibling requests can read."""
    return entry.cache_prefix and provider_named(entry.provider).caches_marked_prefixes
