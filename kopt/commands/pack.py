"""`kopt pack`: write a run's replies and measurements into one archive, for a replay elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kopt.artifact import read_plain, read_value
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, Force, Output, RunStore, check_output
from kopt.commands.parts.looked_at import RunName, run_or_folder, store_used
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError
from kopt.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kopt.llm.ledger import Line
    from kopt.llm.pack import Packed
    from kopt.llm.packed import Recording
    from kopt.model.measurements import Measurements
    from kopt.run.manifest import Manifest


PLACE = Place(Panel.PROVE, 3)


def run(
    run: RunName,
    store: RunStore = None,
    output: Output = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Write a run's replies, and what it measured on a GPU, into one archive, for a replay elsewhere.

    The archive is NAME.replies.tar.xz by default; one whose name does not end with .xz is not compressed. That of a run
    that has ended also holds settings, models and problem, and, if a GPU judged, what was built, judged and measured.

    Files of the store that are torn are named and left out; the status is 1 then.

    JSON: `archive`, the number of `replies`, whether it holds `measurements`, its `bytes`, and what is wrong with files
    that were left out (`unusable`).

    Example:
        kopt pack results/demo --output demo.replies.tar.xz
    """
    run = run_or_folder(run)
    archive = output or Path(f"{run.resolve().name}.replies.tar.xz")
    check_output(archive, force=force)
    packed = pack_run(run, Store(store_used(run, store)), archive, ROOT)
    size = archive.stat().st_size
    replies = f"{packed.replies} repl{'y' if packed.replies == 1 else 'ies'}"
    held = f"{replies} and all measurements" if packed.measurements else replies
    line = f"{held} in {archive} ({size / 1e6:.2g} MB): replay the run elsewhere with kopt replay {archive.name}"
    for path, fault in packed.unusable.items():
        print(f"kopt: error: left out, since it is not whole: {path}: {fault}", file=sys.stderr)
    if packed.unusable:
        line = f"{held} in {archive}, {len(packed.unusable)} left out: a replay lacks these"
    print_answer({"archive": str(archive), "bytes": size, **packed.model_dump()}, [line], as_json=json)
    return 1 if packed.unusable else 0


def pack_run(run: Path, store: Store, archive: Path, root: Path = Path()) -> Packed:
    """Write the replies of a run, and why others are lacking, into an archive.

    The archive of a run that has ended also holds settings, models and problem, and what was measured on a GPU, so that
    a replay needs nothing else.

    Args:
        run: the run's folder.
        store: the store that it used.
        archive: the file to write.
        root: the project's root, below which the run's problem lies.

    Raises:
        ConfigError: the folder has no ledger, or the store has none of its replies, or lacks one of its builds.
    """
    from kopt.jobs.asker import LEDGER, UNANSWERED
    from kopt.llm.ledger import Reused, Settled
    from kopt.llm.pack import pack
    from kopt.run.layout import MANIFEST
    from kopt.run.load import load_ledger
    from kopt.run.manifest import Manifest

    manifest = read_value(run / MANIFEST, Manifest) if (run / MANIFEST).exists() else None
    recording = recording_of(run, manifest, root) if manifest else None
    measured = measured_of(run, manifest, store, root) if manifest and recording else None
    unanswered = read_plain(run / UNANSWERED).decode().split() if (run / UNANSWERED).exists() else []
    lines = load_ledger(run).lines() if measured is None or (run / LEDGER).exists() else []
    asked = {*unanswered, *(line.request for line in lines)}
    replied = {line.request for line in lines if isinstance(line, Settled | Reused)}
    made_with = manifest.versions if manifest else None
    if measured is not None and recording is not None:
        if measured.requests:  # a replay: its replies are those of the recorded run, by the recorded run's requests
            asked = replied = {name for names in measured.requests.values() for name in names}
        else:
            measured = measured.model_copy(update={"requests": requests_by_label(lines)})
        made_with = measured.versions
        recording = recording.model_copy(update={"settings": recording.settings | {"judge": measured.judge}})
    with TemporaryDirectory(dir=archive.absolute().parent, prefix=".kopt-pack-") as folder:
        written = Path(folder) / archive.name
        packed = pack(store, asked, written, made_with, recording, replied, measured)
        if packed.unusable and not packed.replies:
            raise ConfigError(f"no reply of {run} in the store {store.root} is whole: kopt store {store.root} --verify")
        if not packed.replies and (replied or measured is None):
            raise ConfigError(f"the store {store.root} has no reply of {run}: name the store that the run used")
        written.replace(archive)
    if manifest and recording is None:
        print(
            f"kopt: note: {manifest.config.problems}/{manifest.config.problem} has changed since the run, so that the "
            "archive holds replies only",
            file=sys.stderr,
        )
    return packed


def requests_by_label(lines: Sequence[Line]) -> dict[str, tuple[str, ...]]:
    """Return the requests of a ledger by their label, in order, each once."""
    requests: dict[str, dict[str, None]] = {}
    for line in lines:
        requests.setdefault(line.label, {})[line.request] = None
    return {label: tuple(names) for label, names in requests.items()}


def measured_of(run: Path, manifest: Manifest, store: Store, root: Path) -> Measurements | None:
    """Return what a finished run measured on a GPU; None for a run that measured nothing."""
    from kopt.run.load import load_run
    from kopt.run.measurements import MEASURED_BY, measurements_of

    if manifest.config.judge not in MEASURED_BY:
        return None
    return measurements_of(load_run(run), run, manifest, store, root)


def recording_of(run: Path, manifest: Manifest, root: Path) -> Recording | None:
    """Return settings, models and problem of a run; None where the problem's files below `root` have changed since."""
    from kopt.llm.packed import Recording
    from kopt.llm.table import ModelTable
    from kopt.model.problem import Problem
    from kopt.model.proposers import EarlierRuns
    from kopt.problem import folder, write
    from kopt.run_settings import RunSettings

    config, problem = manifest.config, read_value(run / "problem.json", Problem)
    source = root / config.problems / config.problem
    found = folder.load(source) if source.exists() else None
    if found is None or found.model_copy(update={} if found.has_seed else {"seed": problem.seed}) != problem:
        return None
    table = read_value(run / "models.json", ModelTable) if (run / "models.json").exists() else ModelTable()
    settings = {"judge": RunSettings(config).backend, "problem": problem.name}
    taken = run / "experience.json"
    if source.is_dir() and found.has_seed:
        texts = {
            file.relative_to(source).as_posix(): file.read_text() for file in folder.files(source) if file.exists()
        }
    else:
        texts = write.texts(problem, problem.reference, {})
    return Recording(
        run=manifest.run, settings=config.model_dump(mode="json") | settings, models=table,
        problem=texts, experience=read_value(taken, EarlierRuns) if taken.exists() else None,
    )  # fmt: skip
