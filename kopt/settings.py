"""Settings as they come, from files and command lines, made into a checked configuration; a fault is one clear line."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from kopt.config import EMBEDDED, Config
from kopt.errors import ConfigError, nearest
from kopt.model.device import Device

REPLACED = {"num_top_kernels": "candidate_pool_size", "num_expanding_parents": "candidate_pool_size"}
"""Older settings, and what took their place."""

PLAIN_PATH = r"[\w./+@%:,~-]+"
"""Paths that stand in a rule's command as they are."""


def load(raw: Mapping[str, Any], root: Path) -> Config:
    """Check a merged configuration (defaults, preset, command line) and resolve what depends on the preset.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    settings = {key: value for key, value in raw.items() if value is not None}
    preset = settings.get("preset") or ""
    if preset:
        known = load_preset(str(preset), root)
        settings = _without_preset_slots(settings, known)
        _check_loaded(parse(settings, "configuration"), known)
    return parse(settings, "configuration")


def load_preset(name: str, root: Path) -> Config:
    """A preset by name, on top of the defaults, with its declared slots reconciled with the formula.

    Raises:
        ConfigError: there is no such preset, or it is malformed.
    """
    path = root / "config" / "presets" / f"{name}.yaml"
    known = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"unknown preset {name!r}{nearest(name, known)}; presets are {', '.join(known)}")
    return parse(yaml.safe_load(path.read_text()) or {}, f"preset {name}")


def parse(settings: Mapping[str, Any], where: str) -> Config:
    """Settings as a checked value.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


def check_files(config: Config, root: Path, served: Collection[str] = ()) -> None:
    """Check what the settings point at: models, run folder, before anything is spent.

    Args:
        config: the settings.
        root: the project's root.
        served: language models that the model table knows.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    for name in (*config.models, *config.asked_models):
        if name not in EMBEDDED and name not in served:
            known = (*EMBEDDED, *served)
            hint = nearest(name, known) or "; run with --config models='[kopt-rewrite]'"
            raise ConfigError(f"models: no provider for {name!r}{hint}; known are {', '.join(known)}")
    folders = (("results", config.results), ("store", config.store), ("exchange", config.asking.exchange))
    for setting, folder in (*folders, ("project folder", str(root))):
        if not re.fullmatch(PLAIN_PATH, folder):
            raise ConfigError(f"{setting}: {folder!r} holds a blank or a character special to the shell: rename it")
    for setting, place in folders:
        _check_writable(setting, Path(place))


def load_device(name: str, root: Path) -> Device:
    """A device description from `config/devices`.

    Raises:
        ConfigError: there is no such description, or it is malformed.
    """
    folder = root / "config" / "devices"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"device: unknown {name!r}{nearest(name, known)}; known are {', '.join(known)}")
    try:
        return Device.model_validate(yaml.safe_load((folder / f"{name}.yaml").read_text()))
    except ValidationError as error:
        raise ConfigError(f"config/devices/{name}.yaml: {_explain(error, Device)}") from error


def _without_preset_slots(settings: dict[str, Any], preset: Config) -> dict[str, Any]:
    """Drop the preset's declared slots when the command line changed what they are computed from."""
    if settings.get("slots") == preset.slots:
        return {key: value for key, value in settings.items() if key != "slots"}
    return settings


def _check_loaded(config: Config, preset: Config) -> None:
    """Refuse a preset that is named and not loaded: a run would bear its name with other settings."""
    default, names = Config(), set(Config.model_fields) - {"preset", "slots", "models"}
    own = [name for name in sorted(names) if getattr(preset, name) != getattr(default, name)]
    if len(own) > 1 and all(getattr(config, name) == getattr(default, name) for name in own):
        raise ConfigError(
            f"preset: {preset.preset!r} is named, but none of its settings is set: "
            f"add --configfile config/presets/{preset.preset}.yaml"
        )


def _check_writable(setting: str, folder: Path) -> None:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{setting}: cannot write to {folder} ({existing} is not a writable folder)")


def _explain(error: ValidationError, model: type[BaseModel] = Config) -> str:
    return "; ".join(_explain_one(dict(one), model) for one in error.errors(include_url=False))


def _explain_one(one: dict[str, Any], model: type[BaseModel]) -> str:
    location = [str(part) for part in one["loc"]]
    name = ".".join(location)
    if one["type"] == "extra_forbidden":
        if location[-1] in REPLACED:
            return f"{name} was replaced by {REPLACED[location[-1]]}: set that instead"
        return f"unknown key {name!r}{nearest(location[-1], _keys(model, location[:-1]))}"
    message = str(one["msg"]).removeprefix("Value error, ")
    got = f" (got {one['input']!r})" if name and not isinstance(one.get("input"), dict) else ""
    return f"{name}: {message}{got}" if name else message


def _keys(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation
        choices = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not choices:
            return []
        model = choices[0]
    return list(model.model_fields)
