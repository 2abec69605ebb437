"""Generate files from the configuration model: YAML defaults, JSON schema and a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo

from kopt.config import Config
from kopt.model.base import Value

NOTE = "generated from kopt/config.py by `kopt config --write`"


def files() -> dict[Path, str]:
    """Make the text of every generated file, by path relative to the project's root."""
    return {
        Path("config/config.yaml"): default_yaml(),
        Path("config/schema.json"): schema_json(),
        Path("docs/configuration.md"): page(),
    }


def default_yaml() -> str:
    """List all settings with their defaults as YAML, each below its description."""
    lines = [f"# All settings and their defaults; {NOTE}.", "# A preset or --config changes some of them."]
    return "\n".join([*lines, "", *_yaml_lines(Config(), indent=""), ""])


def schema_json() -> str:
    """Make the JSON schema of a configuration, for editors."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


def page() -> str:
    """Make the reference for people: a table of settings in Markdown."""
    head = [
        "# Configuration reference",
        "",
        f"Every setting of a run; {NOTE}. Defaults are in `config/config.yaml`, presets in `config/presets/`.",
        "Set one on the command line with `--config name=value`, a nested one with `--config 'stop={patience: 3}'`.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    rows = [f"| `{name}` | `{_plain(default)}` | {text} |" for name, default, text in _settings(Config(), "")]
    return "\n".join([*head, *rows, ""])


def _yaml_lines(value: Value, indent: str) -> Iterator[str]:
    for name, field in type(value).model_fields.items():
        yield from (f"{indent}# {line}" for line in _description(field).split("\n"))
        item = getattr(value, name)
        if isinstance(item, Value):
            yield f"{indent}{name}:"
            yield from _yaml_lines(item, indent + "  ")
        else:
            yield f"{indent}{name}: {_plain(item)}"


def _settings(value: Value, prefix: str) -> Iterator[tuple[str, object, str]]:
    for name, field in type(value).model_fields.items():
        item = getattr(value, name)
        if isinstance(item, Value):
            yield from _settings(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item, " ".join(_description(field).split())


def _description(field: FieldInfo) -> str:
    return field.description or ""


def _plain(item: object) -> str:
    """Write a value as one line of YAML."""
    item = list(item) if isinstance(item, tuple) else item
    return yaml.safe_dump(item, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
