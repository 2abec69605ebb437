"""Make the manifest of a run, a file in its folder: settings, versions and device, to repeat the run and to load it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from kopt.config import Config
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.provenance import versions
from kopt.run.value import Run
from kopt.run_settings import RunSettings

DERIVED = ("clustering", "backend", "proposers", "asked_models")
"""Names of derived values that a run records beside its settings."""

UNRECORDED = ("warm",)
"""Settings that a run does not record: no result depends on them, and a run in which they change does nothing again."""


class Manifest(Value):
    """Settings, versions, device and kernels of a run."""

    run: str
    configuration: dict[str, JsonValue]
    """All settings, resolved, and derived values (`DERIVED`)."""
    versions: dict[str, str]
    """Versions of Python and of `kopt.provenance.PACKAGES`."""
    device: Device
    taxonomy: tuple[str, ...] = ()
    """Names of the techniques, in bit order."""
    kernels: dict[str, str]
    """Digests of the seed's and the best kernel's source."""

    @property
    def config(self) -> Config:
        """The settings alone."""
        return config_of(self.configuration)


def config_of(configuration: Mapping[str, JsonValue]) -> Config:
    """Return the settings of a recorded configuration, without derived values."""
    return Config.model_validate({name: value for name, value in configuration.items() if name not in DERIVED})


def configuration_of(config: Config) -> dict[str, JsonValue]:
    """Return all settings but `UNRECORDED`, and derived values, in types of JSON."""
    settings = RunSettings(config)
    return config.model_dump(mode="json", exclude=set(UNRECORDED)) | {
        "clustering": settings.clustering,
        "backend": settings.backend,
        "proposers": list(settings.proposers),
        "asked_models": list(settings.asked_models),
    }


def manifest_of(run: Run) -> Manifest:
    """Make the manifest of a run; the versions are those of this environment."""
    return Manifest(
        run=run.name,
        configuration=configuration_of(run.config),
        versions=versions(),
        device=run.device,
        taxonomy=tuple(run.taxonomy),
        kernels={"seed": run.trials[0].kernel, "best": run.best.kernel},
    )
