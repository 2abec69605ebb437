"""`kopt replay`: run a packed run again from its archive alone.

The archive holds replies, settings, models and problem, and what was measured on a GPU.

An archive may come from anywhere, and its `problem.py` is code.  Everything in it is checked before anything is
written, and then the replay runs confined (`kopt.sandbox.confined`): it writes below its own folders only, has no
network, and holds no keys.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from kopt.artifact import plain_file, write_text, write_value
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, ROOT, AsJson, Cores, existing_file
from kopt.commands.parts.become import become
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ConfigError, DeviceError
from kopt.load_config import parse
from kopt.sandbox.confined import check_confinable, confined_environment, run_confined
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.llm.packed import Recording
    from kopt.model.measurements import Measurements

MADE_HERE = ("results", "store", "run", "problems", "models_file", "experience", "replies", "judge", "exchange")
"""Settings that a replay makes for itself."""
BEFORE: Mapping[str, object] = MappingProxyType({"learning": False})
"""Settings that an archive may be older than, with the values that make its search choose as it did."""

EXPERIENCE = "experience.json"
"""File of a replay's folder: what the recorded run took along of earlier runs."""
MARK = "archive.sha256"
"""File of a replay's folder: SHA-256 of the archive."""

PLACE = Place(Panel.PROVE, 2)


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="An archive of a run, as kopt pack writes it.")],
    run: Annotated[str, typer.Option("--run", metavar="NAME", help="Name of the replay; default: the run's.")] = "",
    results: Annotated[
        Path, typer.Option("--results", metavar="FOLDER", help="The folder that gets the replay's folder.")
    ] = Path(DEFAULTS.results),
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FOLDER", help="The store to use; default: one of the replay's own."),
    ] = None,
    cores: Cores = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Build, judge and measure anew; only the replies are replayed.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the archive's problem.py outside of the cage, with all your rights.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Replay a packed run from its archive: no server, no key, no cost, and no GPU where the archive has measurements.

    The archive is checked, and its code runs in the cage; the status is snakemake's. It is said first what is replayed,
    and what is made anew.

    JSON: `run`, its `folder`, and `final`, the file of its figures; snakemake then writes to stderr.

    Example:
        kopt replay demo.replies.tar.xz --run again
    """
    file = existing_file(archive, "an archive of replies")
    results = results.resolve()
    name, settings = checked(file, results, run)
    measured = None if anew else measured_in(file)
    beside = results / f"{name}.replay"
    own_store = store.resolve() if store else beside / "store"
    gpu = settings.judge == "cuda" and measured is None
    if not trust:
        try:
            check_confinable(gpu)
        except DeviceError as error:
            raise DeviceError(
                f"{file} holds code (problem.py), and {error}: replay it elsewhere, or, if you trust it, with --trust"
            ) from error
    folders = own_folders(file, beside, results / name, own_store)

    def replayed() -> int:
        prepared = prepare(file, own_store, results, name, anew=anew)
        become(command(prepared, cores or len(os.sched_getaffinity(0))), folder=beside, stdout_is_taken=json)

    where = ", ".join(str(folder) for folder in folders)
    note = f"in the cage: it writes only below {where}, has no network and no keys"
    note = "with all your rights (--trust)" if trust else note
    print(f"kopt: note: problem.py of {file} runs {note}", file=sys.stderr, flush=True)
    for line in replayed_lines(measured, settings.judge):
        print(f"kopt: note: {line}", file=sys.stderr, flush=True)
    if json:
        folder = results / name
        print_answer({"run": name, "folder": str(folder), "final": str(folder / "final.json")}, (), as_json=True)
        sys.stdout.flush()
    if trust:
        return replayed()
    return run_confined(replayed, folders, confined_environment(beside / "home"), gpu=gpu)


def replayed_lines(measured: Measurements | None, judge: str) -> list[str]:
    """Say what a replay takes from its archive, and what it makes anew.

    Args:
        measured: the archive's measurements, where they are replayed.
        judge: the recorded search's judge.
    """
    if measured is None:
        how = {"cuda": "builds, verdicts, times and profiles, on this machine's GPU"}
        anew = how.get(judge, "builds, verdicts, and estimated times")
        return [f"replayed: replies of models; made anew: {anew}"]
    made = ", ".join(f"{name} {measured.versions.get(name)}" for name in ("torch", "triton"))
    return [
        f"replayed: replies of models, builds, verdicts, times and profiles of {measured.device.name} ({made})",
        "made anew: prompts, directions by rules, proposals of the rewriter, selections, and the report",
    ]


def checked(archive: Path, results: Path, run: str = "") -> tuple[str, Config]:
    """Check an archive's recording, and return the name and the settings of its replay; nothing is written.

    Raises:
        CorruptArtifact: the file is not such an archive.
        ConfigError: the archive holds no settings of its run or wrong ones, or another run of that name exists.
    """
    recording = _recording(archive)
    measured_in(archive)
    name = run or recording.run
    settings = parse(
        _kept(recording) | {"run": name, "judge": recording.settings.get("judge", "auto")}, f"settings of {archive}"
    )
    taxonomy = Path(settings.technique_clustering.techniques)
    if taxonomy.is_absolute() or ".." in taxonomy.parts:
        raise ConfigError(f"{archive}: its technique_clustering.techniques leads out of the project")
    if not name or settings.problem in (".", ".."):
        raise ConfigError(f"{archive}: its run or its problem has no name: name the replay with --run NAME")
    if (results / name).exists() and not _is_replay_of(archive, results / f"{name}.replay"):
        raise ConfigError(f"{results / name} exists and is not a replay of {archive}: name this one with --run NAME")
    beside = results / f"{name}.replay"
    if not beside.is_symlink() and beside.exists() and not (beside.is_dir() and _is_ours(beside)):
        raise ConfigError(f"{beside} exists, and no replay made it: name this one with --run NAME")
    return name, settings


def own_folders(archive: Path, beside: Path, run: Path, store: Path) -> tuple[Path, ...]:
    """Make the folders that a replay writes to, and return them.

    Raises:
        ConfigError: one of them leads elsewhere, which a problem that ran there may have arranged.
        OSError: a folder cannot be made.
    """
    for folder in (beside, run, store, *(beside / name for name in ("home", "home/tmp", "problems"))):
        if folder.is_symlink():
            raise ConfigError(
                f"{folder} is a link, and a replay writes to its own folders only: name this one with --run NAME"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if folder == beside:
            write_text(beside / MARK, f"{_digest(archive)}\n")
    return (beside, run) if store.is_relative_to(beside) else (beside, run, store)


def measured_in(archive: Path) -> Measurements | None:
    """Return an archive's measurements; None where it has none.

    Raises:
        CorruptArtifact: they do not match their digest or their schema.
    """
    from kopt.llm.pack import measurements_packed

    return measurements_packed(archive)


def prepare(archive: Path, store: Path, results: Path, run: str = "", *, anew: bool = False) -> Path:
    """Put an archive's replies and measurements into a store, write the replay's settings, and return their file.

    The same call goes on with a replay that was interrupted.

    Args:
        archive: the archive of a run that had ended.
        store: the folder of the store that gets the replies.
        results: folder of the run's folder; settings, models and problem are written beside the run's folder.
        run: name of the replay, the run's own by default.
        anew: judge and measure as the recorded run did.

    Raises:
        CorruptArtifact, ConfigError: as for `checked`.
    """
    from kopt.jobs.recorded import put_measurements
    from kopt.llm.pack import unpack

    name, _ = checked(archive, results, run)
    recording = _recording(archive)
    beside = results / f"{name}.replay"
    unpack(archive, Store(store))
    measured = measured_in(archive)
    if measured is not None:  # made anew, they still tell which reply belongs to which slot
        put_measurements(Store(store), measured)
    write_text(beside / MARK, f"{_digest(archive)}\n")
    for file, text in recording.problem.items():
        write_text(beside / "problems" / str(recording.settings["problem"]) / file, text)
    write_text(beside / "models.yaml", yaml.safe_dump(recording.models.model_dump(mode="json"), sort_keys=True))
    if recording.experience is not None:
        write_value(beside / EXPERIENCE, recording.experience)
    by_slots = anew and measured is not None
    settings = _kept(recording) | (_asking_slots_alone(recording) if by_slots else {}) | {
        "experience": str((beside / EXPERIENCE).resolve()) if recording.experience is not None else "none",
        "results": str(results), "store": str(store), "run": name, "problems": str((beside / "problems").resolve()),
        "models_file": str((beside / "models.yaml").resolve()), "replies": "slots" if by_slots else "replay",
        "judge": recording.settings["judge"] if anew or measured is None else "recorded",
    }  # fmt: skip
    write_text(beside / "settings.yaml", yaml.safe_dump(settings, sort_keys=True))
    return beside / "settings.yaml"


def command(settings: Path, cores: int) -> list[str]:
    """Return the command line that runs prepared settings, from any folder."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*snakemake, "--cores", str(cores), "--quiet", "all", "--configfile", str(settings)]


def _recording(archive: Path) -> Recording:
    from kopt.llm.pack import recording_in

    recording = recording_in(archive)
    if recording is None:
        raise ConfigError(
            f"{archive} holds replies only: kopt unpack it, then give the run's command with replies=replay"
        )
    return recording


def _kept(recording: Recording) -> dict[str, object]:
    settings = {key: value for key, value in recording.settings.items() if key not in MADE_HERE and value is not None}
    return {**BEFORE, **settings}


def _asking_slots_alone(recording: Recording) -> dict[str, object]:
    """Return settings with which models are asked for kernels alone: what else they said is about recorded times."""
    clustering = recording.settings.get("technique_clustering")
    given = clustering if isinstance(clustering, dict) else {}
    return {
        "diagnosis": "rules", "reflection": "none", "technique_clustering": {**given, "classifier": "static"},
    }  # fmt: skip


def _is_replay_of(archive: Path, beside: Path) -> bool:
    return _noted(beside) == _digest(archive)


def _is_ours(beside: Path) -> bool:
    """Return whether a replay made a folder, or may take it as its own since it is empty."""
    return bool(_noted(beside)) or not any(beside.iterdir())


def _noted(beside: Path) -> str:
    """Return the digest of the archive whose replay made a folder; empty where none did."""
    try:
        with plain_file(beside / MARK, 1 << 10) as file:
            return (re.match(rb"[0-9a-f]{64}\Z", file.read().strip()) or [b""])[0].decode()
    except (OSError, ValueError):
        return ""


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
