"""The model table: which provider serves a name, within which limits, at what price (`config/models.yaml`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from kopt.errors import ConfigError, nearest
from kopt.llm.reply import Usage
from kopt.llm.request import Message, Request, Sampling, Schema
from kopt.model.base import Value

Protocol = Literal["anthropic", "openai", "openai-chat"]

MILLION = 1_000_000


class Price(Value):
    """US dollars per million tokens."""

    model_config = ConfigDict(strict=True)

    input: float = Field(ge=0, allow_inf_nan=False)
    """Input that is neither read from nor written to a prompt cache."""
    cached_input: float = Field(ge=0, allow_inf_nan=False)
    """Input read from a prompt cache."""
    cache_write: float = Field(ge=0, allow_inf_nan=False)
    """Input written to a prompt cache; the input price where writing is free of extra charge."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Output, reasoning included."""
    batch_factor: float = Field(default=1.0, ge=0, le=1)
    """What a batch call costs, as a share of a direct one; 1 where there is no batch price."""

    def dollars(self, usage: Usage, *, batch: bool = False) -> float:
        """What `usage` costs, US dollars; its own `dollars` is not looked at."""
        full = usage.input * self.input + usage.cached_input * self.cached_input
        full += usage.cache_write * self.cache_write + usage.output * self.output
        return full / MILLION * (self.batch_factor if batch else 1.0)

    def saved(self, usage: Usage) -> float:
        """What prompt caching saved, US dollars; negative when writing cost more than reading saved."""
        read = usage.cached_input * (self.input - self.cached_input)
        return (read - usage.cache_write * (self.cache_write - self.input)) / MILLION

    def worst(self, request: Request) -> float:
        """The most that one call may cost, US dollars: every two bytes of input a token, the whole output used."""
        dearest = max(self.input, self.cache_write)
        return (request.utf8_bytes / 2 * dearest + request.max_output_tokens * self.output) / MILLION


class Model(Value):
    """One entry of the table."""

    model_config = ConfigDict(strict=True)

    provider: Protocol
    """`anthropic` (Messages), `openai` (Responses) or `openai-chat` (Chat Completions, any compatible server)."""
    api_model: str = Field(min_length=1)
    """The provider's own name of the model."""
    base_url: str = Field(pattern=r"^https?://[^\s@]+$")
    """Where the API lies, e.g. `https://api.openai.com/v1`; Anthropic's without `/v1`."""
    key_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; none for a server that wants no key."""
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Calls to this model at the same time."""
    max_output_tokens: int = Field(default=16_000, ge=1)
    """Most tokens of one reply, reasoning included."""
    reasoning_effort: str | None = None
    """How long the model thinks, in the provider's words (`low`, `medium`, `high`); none: the provider's default."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; none: not sent (reasoning models refuse it)."""
    stream: bool = True
    """Read replies as they are made, so that long ones do not die of an idle connection."""
    structured: bool = True
    """The server can be held to a JSON schema; false: the prompt asks and a tolerant parser reads."""
    cache_prefix: bool = True
    """Mark stable prefixes for prompt caching (Anthropic); siblings wait until the first of them has begun."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """More fields of the request's body, as the provider names them."""
    price: Price

    @property
    def sampling(self) -> Sampling:
        """What of this entry a reply depends on."""
        return Sampling(
            api_model=self.api_model,
            reasoning_effort=self.reasoning_effort,
            temperature=self.temperature,
            extra=self.extra,
        )


class ModelTable(Value):
    """The models by name."""

    models: dict[str, Model] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _not_null(cls, raw: Any) -> Any:
        return {**raw, "models": raw["models"] or {}} if isinstance(raw, dict) and "models" in raw else raw

    def model(self, name: str) -> Model:
        """The entry of a name.

        Raises:
            ConfigError: the table has none.
        """
        if name not in self.models:
            raise ConfigError(f"models: no provider for {name!r}{nearest(name, self.models)}; see config/models.yaml")
        return self.models[name]

    def only(self, names: Iterable[str]) -> ModelTable:
        """The part of the table that a run needs, to be kept with the run: it holds no key."""
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
        """A request to a model of the table, with the table's sampling and within its limits.

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
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
    try:
        return ModelTable.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: {'; '.join(_explain(dict(one)) for one in error.errors(include_url=False))}"
        ) from error


def missing_keys(table: ModelTable, names: Iterable[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each model whose key is not set or cannot be one; empty when a run may start."""
    wanted = {name: variable for name in dict.fromkeys(names) if (variable := table.model(name).key_variable)}
    return [
        f"models: {name} needs a key in the environment variable {variable}, which {fault}"
        for name, variable in wanted.items()
        if (fault := _key_fault(environ.get(variable, "")))
    ]


def _key_fault(key: str) -> str:
    """What is wrong with a key, without saying it; a header takes no other characters than visible ASCII."""
    if not key.strip():
        return "is not set or empty"
    return "" if re.fullmatch(r"[!-~]+", key.strip()) else "holds a blank, a line break or a character that no key has"


def _explain(one: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in one["loc"]) or "the table"
    if one["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(str(one['loc'][-1]), _keys(one['loc']))}"
    if one["type"] == "missing":
        return f"{where} is missing"
    if one["loc"][-1:] == ("key_variable",):
        return f"{where} must be the name of an environment variable; a key itself never stands in the table"
    return f"{where}: {one['msg']} (got {_short(one.get('input'))})"


def _keys(location: tuple[int | str, ...]) -> Iterable[str]:
    if len(location) == 1:
        return ModelTable.model_fields
    return Price.model_fields if "price" in location[:-1] else Model.model_fields


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
