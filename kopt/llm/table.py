"""Read the model table: provider, limits and prices of each model (`config/models.yaml`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from kopt import safe_yaml
from kopt.discovery import module_names
from kopt.errors import ConfigError, fault_in_words, nearest
from kopt.llm.reply import Usage
from kopt.llm.request import Message, Request, Sampling, Schema
from kopt.model.base import Value

MILLION = 1_000_000

PROVIDERS = "kopt.llm.providers"
"""Package in which each module is a provider."""


class Price(Value):
    """US dollars per million tokens."""

    model_config = ConfigDict(strict=True)

    input: float = Field(ge=0, allow_inf_nan=False)
    """Price of input that is neither read from nor written to a prompt cache."""
    cached_input: float = Field(ge=0, allow_inf_nan=False)
    """Price of input read from a prompt cache."""
    cache_write: float = Field(ge=0, allow_inf_nan=False)
    """Price of input written to a prompt cache; equal to `input` where writing costs nothing extra."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Price of output, reasoning included."""
    batch_factor: float = Field(default=1.0, ge=0, le=1)
    """Price of a call by batch, as a share of that of a direct one; 1 where there is no batch price."""

    def dollars(self, usage: Usage, *, batch: bool = False) -> float:
        """Return what `usage` costs, US dollars; the field `usage.dollars` is not used."""
        full = usage.input * self.input + usage.cached_input * self.cached_input
        full += usage.cache_write * self.cache_write + usage.output * self.output
        return full / MILLION * (self.batch_factor if batch else 1.0)

    def saved(self, usage: Usage) -> float:
        """Return what prompt caching saved, US dollars; negative when writing cost more than reading saved."""
        read = usage.cached_input * (self.input - self.cached_input)
        return (read - usage.cache_write * (self.cache_write - self.input)) / MILLION

    def worst(self, request: Request) -> float:
        """Return the most that a call may cost, US dollars: every two bytes of input a token, the whole output used."""
        dearest = max(self.input, self.cache_write)
        return (request.utf8_bytes / 2 * dearest + request.max_output_tokens * self.output) / MILLION


def _provider(name: str) -> str:
    """Check the name of a provider, and return it unchanged.

    Raises:
        ValueError: no module of `kopt.llm.providers` has this name, with dashes for underscores.
    """
    names = [module.replace("_", "-") for module in module_names(PROVIDERS)]
    if name not in names:
        *others, last = map(repr, names)
        raise ValueError(f"a provider is {', '.join(others)} or {last}")
    return name


def _address(url: str) -> str:
    """Check an address, and return it unchanged.

    Raises:
        ValueError: the address has no host, no valid port, or characters that no address may have.
    """
    parts = urlsplit(url)  # may raise ValueError
    if not parts.hostname or parts.port == 0 or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("an address has a host, a port from 1 to 65535 or none, and visible ASCII characters")
    return url


class Model(Value):
    """An entry of the table."""

    model_config = ConfigDict(strict=True)

    provider: Annotated[str, AfterValidator(_provider)]
    """Protocol of the server: the name of a module of `kopt.llm.providers`, with dashes for underscores."""
    api_model: str = Field(min_length=1)
    """The provider's own name of the model."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$"), AfterValidator(_address)]
    """Address of the API, e.g. `https://example.com/v1`, as the provider's SDK takes it."""
    key_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; None for a server that wants no key."""
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Concurrent calls to this model."""
    max_output_tokens: int = Field(default=16_000, ge=1)
    """Most tokens of one reply, reasoning included."""
    reasoning_effort: str | None = None
    """How long the model thinks, in the provider's words (`low`, `medium`, `high`); None: the provider's default."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; None: not sent (reasoning models refuse it)."""
    stream: bool = True
    """Read replies while the model makes them, so that a long one does not end with an idle connection."""
    structured: bool = True
    """The server can enforce a JSON schema; False: the prompt asks for JSON and a tolerant parser reads it."""
    cache_prefix: bool = True
    """Mark stable prefixes for prompt caching, where the provider wants marks; the first of the sibling requests goes
    ahead then, and the others wait until its reply begins."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request's body, as the provider names them."""
    price: Price

    @property
    def sampling(self) -> Sampling:
        """Return the part of this entry that a reply depends on."""
        return Sampling(
            api_model=self.api_model,
            reasoning_effort=self.reasoning_effort,
            temperature=self.temperature,
            extra=self.extra,
        )


class ModelTable(Value):
    """Entries by the names that runs use."""

    models: dict[str, Model] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _not_null(cls, raw: object) -> object:
        """Take `models:` with nothing below it as no models."""
        return {**raw, "models": raw["models"] or {}} if isinstance(raw, dict) and "models" in raw else raw

    def model(self, name: str) -> Model:
        """Return the entry of a name.

        Raises:
            ConfigError: the table has none.
        """
        if name not in self.models:
            raise ConfigError(f"models: no provider for {name!r}{nearest(name, self.models)}; see config/models.yaml")
        return self.models[name]

    def only(self, names: Iterable[str]) -> ModelTable:
        """Return the part of the table that a run needs, to be kept with the run: it holds no key."""
        return ModelTable(models={name: self.model(name) for name in sorted(set(names)) if name in self.models})

    def request(
        self,
        name: str,
        *,
        system: str,
        messages: tuple[Message, ...],
        template: str,
        sample: int = 0,
        max_output_tokens: int | None = None,
        output_schema: Schema | None = None,
    ) -> Request:
        """Make a request to a model of the table, with the table's sampling and within its limits.

        Raises:
            ConfigError: the table has no such model.
        """
        entry = self.model(name)
        limit = min(max_output_tokens or entry.max_output_tokens, entry.max_output_tokens)
        return Request(
            model=name,
            sampling=entry.sampling,
            system=system,
            messages=messages,
            sample=sample,
            max_output_tokens=limit,
            output_schema=output_schema,
            template=template,
        )


def load_table(path: Path) -> ModelTable:
    """Read a model table.

    Raises:
        ConfigError: one line that names the entry, what is wrong and what to do.
    """
    try:
        raw = safe_yaml.load_file(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except safe_yaml.NotYaml as error:
        raise ConfigError(f"{path}: not YAML ({error})") from error
    try:
        return ModelTable.model_validate(raw)
    except ValidationError as error:
        mistakes = "; ".join(_mistake(details) for details in error.errors(include_url=False))
        raise ConfigError(f"{path}: {mistakes}") from error


def key_faults(table: ModelTable, names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return a line for each model whose key is not set or cannot be one, by name; empty when a run may start.

    Raises:
        ConfigError: the table has no such model.
    """
    variables = {name: variable for name in dict.fromkeys(names) if (variable := table.model(name).key_variable)}
    return {
        name: f"models: {name} needs a key in the environment variable {variable}, which {fault}"
        for name, variable in variables.items()
        if (fault := _key_fault(environ.get(variable, "")))
    }


def _key_fault(key: str) -> str:
    """Return what is wrong with a key, without showing it; an HTTP header takes visible ASCII characters only."""
    if not key.strip():
        return "is not set or empty"
    return "" if re.fullmatch(r"[!-~]+", key.strip()) else "holds a blank, a line break or a character that no key has"


def _mistake(details: ErrorDetails) -> str:
    """Describe one mistake in a table, in one line that never repeats a key."""
    place = details["loc"]
    where = ".".join(str(part) for part in place) or "the table"
    if details["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(str(place[-1]), _fields(place))}"
    if details["type"] == "missing":
        return f"{where} is missing"
    if place[-1:] == ("key_variable",):
        return f"{where} must be the name of an environment variable; a key itself never stands in the table"
    return f"{where}: {fault_in_words(details)} (got {_short(details.get('input'))})"


def _fields(place: tuple[int | str, ...]) -> Iterable[str]:
    """Return the names of the fields that may stand at a place in the table."""
    if len(place) == 1:
        return ModelTable.model_fields
    return Price.model_fields if "price" in place[:-1] else Model.model_fields


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
