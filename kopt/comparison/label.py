"""Name the strategy of a run: as its comparison calls it, else by its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from kopt.artifact import read_value
from kopt.config import Config
from kopt.errors import CorruptArtifact
from kopt.model.base import Value
from kopt.run_settings import RunSettings

LABELS = "comparison.json"
"""File in a comparison's folder that names the strategy of each run."""

NEUTRAL = frozenset({
    "preset", "run", "problem", "problems", "slots", "strategy", "models_file", "replies", "delivery", "exchange",
    "seed", "rounds", "judge", "device", "chunk_size", "workers_per_gpu", "gpu_model", "warm", "limits", "results",
    "store", "llm", "baselines",
})  # fmt: skip
"""Settings that do not make another strategy: names, places, and what is compared by itself (`comparable`)."""
CLUSTERS = "technique_clustering.enabled"
"""Another word for the strategy `clustered`."""


class Labels(Value):
    """The strategies of a comparison's runs."""

    comparison: str
    """Name of the comparison."""
    labels: dict[str, str]
    """The strategy of each run, by the run's name."""


def recorded_label(folder: Path) -> str:
    """Return the label that a run's comparison gave it; empty for a run of no comparison."""
    try:
        return read_value(folder.parent / LABELS, Labels).labels.get(folder.name, "")
    except (OSError, CorruptArtifact):
        return ""


def telling_settings(config: Config) -> dict[str, JsonValue]:
    """Return the settings that may make another strategy, by name, `stop.patience` for one within another."""
    flat: dict[str, JsonValue] = {}
    for name, value in config.model_dump(mode="json", exclude=set(NEUTRAL)).items():
        flat |= {f"{name}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {name: value}
    return {name: value for name, value in flat.items() if name != CLUSTERS}


def derived_labels(configs: Sequence[Config]) -> list[str]:
    """Name strategies by their settings: `beam`, or `beam candidate_pool_size=2` where runs of one strategy differ."""
    strategies = [RunSettings(config).strategy for config in configs]
    settings = [telling_settings(config) for config in configs]
    labels = []
    for strategy, own in zip(strategies, settings, strict=True):
        alike = [other for name, other in zip(strategies, settings, strict=True) if name == strategy]
        labels.append(" ".join([strategy, *(f"{name}={_text(own[name])}" for name in differing(alike))]))
    return labels


def differing(settings: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """Return the names of the settings that are not the same everywhere."""
    names = dict.fromkeys(name for one in settings for name in one)
    return [name for name in names if len({_text(one.get(name)) for one in settings}) > 1]


def _text(value: JsonValue) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
