"""Load settings from files and command lines as a checked configuration; a fault is one clear line."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kopt import safe_yaml
from kopt.config import Config
from kopt.errors import ConfigError, fault_in_words, nearest, nearest_and
from kopt.model.device import DataSheet, Device
from kopt.model.problem import Dtype
from kopt.model.proposers import EMBEDDED
from kopt.run_settings import RunSettings, check_consistent

REPLACED = {"num_top_kernels": "candidate_pool_size", "num_expanding_parents": "candidate_pool_size"}
"""Replaced settings, by their old names."""

RATES = ("copy_gb_s", "matmul_tflop_s", "vector_tflop_s", "measured")
"""Fields of a device description that follow from its `data_sheet`."""
ARCHES = range(75, 130)
"""Compute capabilities times ten, from Turing on."""

PLAIN_PATH = r"[\w./+@%:,~-]+"
"""Pattern of paths that a rule's command can hold unquoted."""


def load(raw: Mapping[str, object], root: Path) -> Config:
    """Load given settings on top of the preset that they name, on top of `config/config.yaml`.

    Args:
        raw: settings by name, as they were given.
        root: the project's root.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    given = dict(raw)
    settings = read(root / "config" / "config.yaml")
    if name := str(given.get("preset") or ""):
        preset = load_preset(name, root)
        settings = _over(settings, read(_preset_file(name, root)))
        given = _without_preset_slots(given, preset)
        settings.pop("slots", None)
    return parse(_over(settings, given), "configuration")


def as_typed(words: Iterable[str]) -> dict[str, object]:
    """Return the settings among words `name=value` whose value is a text, as it was typed.

    Snakemake and YAML read `run=007` as the number 7, `3.10` as 3.1 and `on` as true; a name stays what was typed.  One
    pair of quotes around it is left out.
    """
    typed: dict[str, object] = {}
    for word in words:
        name, _, value = word.partition("=")
        if value and name in Config.model_fields and Config.model_fields[name].annotation is str:
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            typed[name] = value[1:-1] if quoted else value
    return typed


def load_preset(name: str, root: Path) -> Config:
    """Load a preset by name on top of the defaults; its declared slots must agree with the formula.

    Raises:
        ConfigError: there is no such preset, or it is malformed.
    """
    return parse(read(_preset_file(name, root)), f"preset {name}")


def parse(settings: Mapping[str, object], where: str) -> Config:
    """Check settings.

    Args:
        settings: by name.
        where: source of the settings, for error messages.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}") from error
    try:
        check_consistent(RunSettings(config))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return config


def check_files(config: Config, root: Path, served: Collection[str] = ()) -> None:
    """Check, before anything is spent, that the models of the settings exist and that folders can be written.

    Args:
        config: the settings.
        root: the project's root.
        served: names of the language models in the model table.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    settings = RunSettings(config)
    for name in (*config.models, *settings.asked_models):
        if name not in EMBEDDED and name not in served:
            models = (*EMBEDDED, *served)
            hint = nearest(name, models) or "; run with --config models='[kopt-rewrite]'"
            raise ConfigError(f"models: no provider for {name!r}{hint}; known are {', '.join(models)}")
    folders = [("results", config.results), ("store", config.store), ("run", settings.folder)]
    if config.replies == "exchange":
        folders.append(("exchange", settings.exchange))
    for setting, folder in (*folders, ("project folder", str(root))):
        if not re.fullmatch(PLAIN_PATH, folder):
            raise ConfigError(f"{setting}: {folder!r} holds a blank or a character special to the shell: rename it")
    for setting, place in folders:
        if setting != "results" or not Path(settings.folder).is_dir():  # a run that exists needs its own folder alone
            _check_writable(setting, Path(place))


def load_device(name: str, root: Path) -> Device:
    """Load a device description from `config/devices`, or from a file whose path ends in `.yaml`.

    Raises:
        ConfigError: there is no such description, or it is malformed.
    """
    if name.endswith(".yaml"):
        return read_device(Path(name))
    folder = root / "config" / "devices"
    devices = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in devices:
        known = f"known are {', '.join(devices)}, or the path of a file of your own (docs/devices.md)"
        raise ConfigError(f"device: unknown {name!r}{nearest_and(name, devices, known)}")
    return read_device(folder / f"{name}.yaml")


def described_devices(root: Path) -> dict[str, Device]:
    """Load all descriptions of `config/devices`, by name.

    Raises:
        ConfigError: one is malformed.
    """
    return {path.stem: read_device(path) for path in sorted((root / "config" / "devices").glob("*.yaml"))}


def read_device(file: Path) -> Device:
    """Read a device description; in the place of measured rates, `data_sheet` may hold those that the maker states.

    Raises:
        ConfigError: it is malformed.
    """
    described = read(file)
    stated = described.pop("data_sheet", None)
    if stated is not None and (given := [name for name in RATES if name in described]):
        raise ConfigError(f"{file}: {given[0]} follows from data_sheet: leave one of them out")
    try:
        rates = DataSheet.model_validate(stated).rates() if stated is not None else {}
    except ValidationError as error:
        raise ConfigError(f"{file}: data_sheet: {explain(error, DataSheet)}") from error
    try:
        device = Device.model_validate(described | rates)
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, Device)}") from error
    if fault := _impossible(device):
        raise ConfigError(f"{file}: {fault}")
    return device


def _impossible(device: Device) -> str:
    """Return what cannot be true of a device, or an empty text."""
    numbers = device.model_dump(exclude={"name", "measured", "matmul_tflop_s"}) | device.matmul_tflop_s
    for name, number in numbers.items():
        if number <= 0:
            return f"{name}: must be more than 0 (got {number})"
    if unknown := [name for name in device.matmul_tflop_s if name not in list(Dtype)]:
        return f"matmul_tflop_s: unknown dtype {unknown[0]!r}; known are {', '.join(Dtype)}"
    if device.arch not in ARCHES:
        return f"arch: {device.arch} is no compute capability times ten that Triton compiles for (90 is Hopper)"
    if device.shared_bytes_per_block > device.shared_bytes_per_sm:
        return "shared_bytes_per_block: one block cannot have more shared memory than shared_bytes_per_sm"
    return ""


def _preset_file(name: str, root: Path) -> Path:
    folder = root / "config" / "presets"
    presets = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in presets:
        known = f"presets are {', '.join(presets)}"
        raise ConfigError(f"unknown preset {name!r}{nearest_and(name, presets, known)}")
    return folder / f"{name}.yaml"


def read(file: Path) -> dict[str, object]:
    """Read the settings in a file; those without a value are left out.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        content = safe_yaml.load_file(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except safe_yaml.NotYaml as error:
        raise ConfigError(f"{file}: not YAML ({error})") from error
    content = content or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be a mapping of settings")
    return {key: value for key, value in content.items() if value is not None}


def _over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Merge two mappings; where both have a mapping under a key, these are merged in turn, else `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        base = merged.get(key)
        merged[key] = _over(base, value) if isinstance(base, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_preset_slots(settings: dict[str, object], preset: Config) -> dict[str, object]:
    """Drop the preset's `slots` when the command line changed a setting from which they are computed."""
    if settings.get("slots") == preset.slots:
        return {key: value for key, value in settings.items() if key != "slots"}
    return settings


def _check_writable(setting: str, folder: Path) -> None:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".kopt-", dir=existing):
            return
    except OSError as error:
        raise ConfigError(f"{setting}: cannot write to {folder} ({existing} is not a writable folder)") from error


def explain(error: ValidationError, model: type[BaseModel] = Config) -> str:
    """Write pydantic's faults in one line, each with its key and the nearest known one."""
    return "; ".join(_explain_one(fault, model) for fault in error.errors(include_url=False))


def _explain_one(fault: ErrorDetails, model: type[BaseModel]) -> str:
    location = [str(part) for part in fault["loc"]]
    name = ".".join(location)
    if fault["type"] == "extra_forbidden":
        if location[-1] in REPLACED:
            return f"{name} was replaced by {REPLACED[location[-1]]}: set that instead"
        return f"unknown key {name!r}{nearest(location[-1], _keys(model, location[:-1]))}"
    message = fault_in_words(fault)
    got = f" (got {fault['input']!r})" if name and not isinstance(fault["input"], dict) else ""
    return f"{name}: {message}{got}" if name else message


def _keys(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation
        choices = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not choices:
            return []
        model = choices[0]
    return list(model.model_fields)
