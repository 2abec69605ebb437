"""Check settings, keys, problem, taxonomy, device and folders before the first job; an error is one clear line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kopt import artifact
from kopt.config import Config
from kopt.device.hardware.gpus import visible_gpus
from kopt.errors import ConfigError, CorruptArtifact
from kopt.llm.table import ModelTable, key_faults, load_table
from kopt.load_config import PLAIN_PATH, check_files, load, load_device
from kopt.model.base import Value
from kopt.model.proposers import EMBEDDED, EarlierRuns
from kopt.problem import folder
from kopt.run.manifest import configuration_of
from kopt.run_settings import CHUNK_SIZE, SUBMITTED_CHUNK_SIZE, RunSettings
from kopt.search.expand import FanOut
from kopt.search.registry import load_strategy
from kopt.techniques import taxonomy


@dataclass(frozen=True)
class Checked:
    """A valid configuration, and the files that it names."""

    config: Config
    root: Path

    @property
    def problem_folder(self) -> Path:
        """Folder of the problem."""
        return self.root / self.config.problems / self.config.problem

    @property
    def problem_files(self) -> list[Path]:
        """Files that the problem is read from."""
        return list(folder.files(self.problem_folder))

    @property
    def device_file(self) -> Path:
        """Description of the device that kernels are built for."""
        return self.root / "config" / "devices" / f"{self.config.device}.yaml"

    @property
    def taxonomy_file(self) -> Path:
        """Taxonomy of techniques."""
        return self.root / self.config.technique_clustering.techniques

    @property
    def experience_files(self) -> list[Path]:
        """The file of experience that the settings name, if they name one."""
        return [Path(self.config.experience)] if self.config.experience not in ("none", "store") else []

    @property
    def models_file(self) -> Path:
        """Table of language models."""
        return self.root / self.config.models_file

    @property
    def settings(self) -> RunSettings:
        """The configuration, and the values derived from it for this run."""
        return RunSettings(self.config)

    def rule_settings(self, model: type[Value]) -> str:
        """Write a rule's settings as JSON: each field of its settings class takes the setting of the same name."""
        values = {name: self.settings.value(name) for name in model.model_fields}
        return artifact.canonical_json(model.model_validate(values))

    def recorded_settings(self) -> str:
        """Write all settings, and the derived values that a run records, as JSON."""
        return artifact.canonical_json(configuration_of(self.config))


def validate(raw: Mapping[str, object], root: Path, *, submits: bool = False) -> Checked:
    """Check everything that can be checked without running anything.

    Args:
        raw: settings by name, as they were given.
        root: the project's root.
        submits: the run's jobs are submitted to a cluster.

    Raises:
        KoptError: one line that says what is wrong, where, and what to do.
    """
    checked = Checked(for_this_machine(load_settings(raw, root), submits=submits), root)
    table = model_table(checked.config, root)
    check_files(checked.config, root, table.models)
    check_keys(checked.config, table)
    folder.load(checked.problem_folder)
    taxonomy.load(checked.taxonomy_file)
    if checked.config.experience != "none" and not checked.config.learning:
        raise ConfigError("experience: the rewriter uses it with learning=true only: set that, or leave experience out")
    check_experience(checked.experience_files)
    load_device(checked.config.device, root)
    return checked


def reread(raw: Mapping[str, object], root: Path) -> Checked:
    """Read the settings of a run in a job that the run submitted; the run has checked them.

    Raises:
        ConfigError: the settings were changed since.
    """
    return Checked(load_settings(raw, root), root)


def load_settings(raw: Mapping[str, object], root: Path) -> Config:
    """Load settings, and check that the strategy that they name accepts them.

    Raises:
        ConfigError: one line that names the setting and what to do.
    """
    config = load(raw, root)
    fan_out = FanOut(
        width=config.candidate_pool_size,
        bottlenecks=config.num_bottlenecks,
        models=RunSettings(config).proposers,
        samples=config.samples_per_prompt,
    )
    load_strategy(RunSettings(config).strategy).check(fan_out)
    return config


def for_this_machine(config: Config, *, submits: bool = False) -> Config:
    """Return the settings with those resolved whose default depends on the machine, or on whether jobs are submitted.

    Judge `auto` means `cuda` where this machine shows a GPU, else `interpret`.
    """
    judge = config.judge
    if judge == "auto":
        judge = "cuda" if visible_gpus(os.environ) else "interpret"
    size = config.chunk_size or (SUBMITTED_CHUNK_SIZE if submits else CHUNK_SIZE)
    return config.model_copy(update={"judge": judge, "chunk_size": size})


def judge_note(raw: Mapping[str, object], config: Config) -> str:
    """Write the note for the user when this machine decided the judge of jobs that run elsewhere; empty otherwise.

    Args:
        raw: settings by name, as they were given.
        config: the settings, with judge `auto` resolved.
    """
    if str(raw.get("judge") or "auto") != "auto":
        return ""
    if config.judge == "cuda":
        return "judge=cuda, since this machine shows a GPU: the jobs ask for GPUs"
    return "judge=interpret, since this machine shows no GPU: no job asks for one; to measure on GPUs, set judge=cuda"


def lock_note(run: str, unlocking: str = "", locks: Path = Path(".snakemake/locks")) -> str:
    """Write the line for the user when the run is locked; empty when it is not.

    Args:
        run: the run's folder, as rules name it.
        unlocking: the user's command that unlocks it; empty where it is not known.
        locks: folder of Snakemake's locks: files that list what their holder reads and writes.
    """
    held = (line for lock in locks.glob("*.lock") for line in lock.read_text(errors="replace").splitlines())
    if not any(line.startswith(f"{run}/") for line in held):
        return ""
    once = "run this command once with --unlock (for make demo: make unlock), then again"
    how = f"run `{unlocking}`, then this command again" if unlocking else once
    return f"{run} is locked: another snakemake works on it, or one was killed. If none works on it, {how}"


def model_table(config: Config, root: Path) -> ModelTable:
    """Load the table of language models; a run that names no language model needs no such file.

    Raises:
        ConfigError: the table is malformed.
    """
    needed = RunSettings(config).asked_models or set(config.models) - set(EMBEDDED)
    return load_table(root / config.models_file) if needed else ModelTable()


def check_experience(files: Sequence[Path]) -> None:
    """Check the file of experience, if the settings name one.

    Raises:
        ConfigError: there is no such file, or the file holds no experience.
    """
    for file in files:
        if not re.fullmatch(PLAIN_PATH, str(file)):
            raise ConfigError(f"experience: {str(file)!r} holds a blank or a character special to the shell: rename it")
        if not file.is_file():
            raise ConfigError(f"experience: {file} is no file; give none, store, or the experience.json of a run")
        try:
            artifact.read_value(file, EarlierRuns)
        except CorruptArtifact as error:
            raise ConfigError(f"experience: {error}".replace(": delete it and run again", "")) from error


def check_keys(config: Config, table: ModelTable) -> None:
    """Refuse a run that would call a model whose key is not set; replayed and exchanged replies need none.

    Raises:
        ConfigError: names the models and the environment variables.
    """
    asked = RunSettings(config).asked_models
    lines = list(key_faults(table, asked).values()) if config.replies == "live" else []
    if lines:
        rest = f" (and {len(lines) - 1} more)" if lines[1:] else ""
        raise ConfigError(f"{lines[0]}{rest}; set it, or run with --config models='[kopt-rewrite]'")
