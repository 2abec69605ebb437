"""`kopt pack`: write a run's replies into one archive, for a replay elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kopt.artifact import read_value
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, ROOT, AsJson, Force, Output, RunStore, check_output
from kopt.commands.parts.looked_at import RunName, run_or_folder
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.llm.packed import Recording
    from kopt.run.manifest import Manifest


PLACE = Place(Panel.PROVE, 3)


def run(
    run: RunName,
    store: RunStore = Path(DEFAULTS.store),
    output: Output = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Write a run's replies into one archive, for a replay elsewhere.

    The archive is NAME.replies.tar by default; that of a run that has ended also holds settings, models and problem.

    JSON: `archive` and the number of `replies`.

    Example:
        kopt pack results/demo --output demo.replies.tar
    """
    run = run_or_folder(run)
    archive = output or Path(f"{run.resolve().name}.replies.tar")
    check_output(archive, force=force)
    count = pack_run(run, Store(store), archive, ROOT)
    replies = f"{count} repl{'y' if count == 1 else 'ies'}"
    line = f"{replies} in {archive}: replay the run elsewhere with kopt replay {archive.name}"
    print_answer({"archive": str(archive), "replies": count}, [line], as_json=json)
    return 0


def pack_run(run: Path, store: Store, archive: Path, root: Path = Path()) -> int:
    """Write the replies of a run, and why others are lacking, into an archive; return how many replies there are.

    The archive of a run that has ended also holds settings, models and problem, so that a replay needs nothing else.

    Args:
        run: the run's folder.
        store: the store that it used.
        archive: the file to write.
        root: the project's root, below which the run's problem lies.

    Raises:
        ConfigError: the folder has no ledger, or the store has none of its replies.
    """
    from kopt.jobs.asker import UNANSWERED
    from kopt.llm.pack import pack
    from kopt.run.layout import MANIFEST
    from kopt.run.load import load_ledger
    from kopt.run.manifest import Manifest

    unanswered = (run / UNANSWERED).read_text().split() if (run / UNANSWERED).exists() else []
    requests = {*unanswered, *(line.request for line in load_ledger(run).lines())}
    manifest = read_value(run / MANIFEST, Manifest) if (run / MANIFEST).exists() else None
    recording = recording_of(run, manifest, root) if manifest else None
    count = pack(store, requests, archive, manifest.versions if manifest else None, recording)
    if not count:
        raise ConfigError(f"the store {store.root} has no reply of {run}: name the store that the run used")
    return count


def recording_of(run: Path, manifest: Manifest, root: Path) -> Recording | None:
    """Return settings, models and problem of a run; None where the problem's files below `root` have changed since."""
    from kopt.llm.packed import Recording
    from kopt.llm.table import ModelTable
    from kopt.model.problem import Problem
    from kopt.problem import folder, write
    from kopt.run_settings import RunSettings

    config, problem = manifest.config, read_value(run / "problem.json", Problem)
    source = root / config.problems / config.problem
    found = folder.load(source) if source.exists() else None
    if found is None or found.model_copy(update={} if found.has_seed else {"seed": problem.seed}) != problem:
        return None
    table = read_value(run / "models.json", ModelTable) if (run / "models.json").exists() else ModelTable()
    settings = {"judge": RunSettings(config).backend, "problem": problem.name}
    if source.is_dir() and found.has_seed:
        texts = {
            file.relative_to(source).as_posix(): file.read_text() for file in folder.files(source) if file.exists()
        }
    else:
        texts = write.texts(problem, problem.reference, {})
    return Recording(
        run=manifest.run, settings=config.model_dump(mode="json") | settings, models=table,
        problem=texts,
    )  # fmt: skip
