"""Find what a command looks at: a run by its folder or its name, its store, and kernels of runs or in files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line import completion
from kopt.commands.parts.arguments import DEFAULTS, ROOT, kernel_text, problem_of
from kopt.errors import ConfigError, nearest
from kopt.load_config import load_device
from kopt.run.layout import EARLIER, is_earlier
from kopt.run.stores import store_folder
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.model.problem import Problem
    from kopt.run.so_far import RunSoFar
    from kopt.view.kernel import KernelView

RunName = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The run's folder, or its name below results.", autocompletion=completion.runs),
]
OwnStore = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="FOLDER", help="The store that the run used; default: the one it names.", show_default=False
    ),
]
FileProblem = Annotated[
    str | None,
    typer.Option(
        "--problem",
        metavar="PROBLEM",
        help="The problem of a kernel in a file, which is then built; default: that of the run in whose folder it "
        "lies, or of the kernel that it is compared with.",
        autocompletion=completion.problems,
    ),
]


def run_folder(word: Path) -> Path:
    """Return the folder of a run that a word names: a folder, or a name below the folder of results.

    `RUN/earlier_1` is an earlier search of a run, which a later start has kept.

    Raises:
        ConfigError: there is no such run.
    """
    results = Path(DEFAULTS.results)
    if found := _found(word):
        return found
    runs = run_folders()
    if word.is_dir():
        own = next((run for run in runs if run.name.startswith(f"{word.name}-")), None)
        hint = f"did you mean {str(own)!r}?" if own else "name the folder of a run that was started, e.g. results/demo"
        raise ConfigError(f"{word} holds no run: {hint}")
    kept = [path for run in runs for path in sorted(run.glob(f"{EARLIER}*")) if is_earlier(path)]
    names = [str(path.relative_to(results)) for path in (*runs, *kept)]
    known = f"; runs here are {', '.join(names[:8])}" if names else f"; {results} holds no run"
    raise ConfigError(f"there is no run {str(word)!r}{nearest(str(word), names) or known}")


def run_or_folder(word: Path) -> Path:
    """Return the folder of a run that a word names, as `run_folder` does, or another folder, e.g. a part of a run.

    A problem's folder is no part of a run.

    Raises:
        ConfigError: there is no such run and no such folder.
    """
    is_other = word.is_dir() and not any((word / name).is_file() for name in ("problem.py", "problem.yaml"))
    return _found(word) or (word if is_other else run_folder(word))


def _found(word: Path) -> Path | None:
    """Return the folder of a run that a word names; None where it names none.

    Raises:
        ConfigError: it names results of an earlier search, which were kept without what the search is read from.
    """
    places = (word, Path(DEFAULTS.results) / word)
    found = next((folder for folder in places if folder.is_dir() and _is_run(folder)), None)
    if found and is_earlier(found) and not (found / "facts.json").is_file():
        raise ConfigError(
            f"{found} holds results alone, which an older kopt has kept without their rounds: look at its report.html "
            "and best_kernel.py, or bring the run back by the command of before"
        )
    return found


def run_folders() -> list[Path]:
    """List the folders of all runs in the folder of results, by name."""
    return sorted(path for path in Path(DEFAULTS.results).glob("*") if _is_run(path))


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("started.json", "manifest.json"))


def opened(word: Path) -> RunSoFar:
    """Read the run that a word names, as its files stand.

    Raises:
        ConfigError: there is no such run.
    """
    from kopt.run.so_far import read_so_far

    return read_so_far(run_folder(word))


def store_of(run: RunSoFar, given: Path | None) -> Store:
    """Return the store of a run: the given one, the one that its settings name, or the one beside its folder.

    Raises:
        ConfigError: there is no store.
    """
    if given is not None:
        if not given.is_dir():
            raise ConfigError(f"--store {given}: there is no such folder")
        return Store(given)
    found = store_folder(run.folder, run.config, run.started)
    if found is None:
        raise ConfigError(f"the store of the run {run.folder} is not at {run.config.store}: name it with --store")
    return Store(found)


def store_used(folder: Path, given: Path | None) -> Path:
    """Return the folder of the store that a run used: the given one, or where `store_folder` finds it."""
    from kopt.run.started import started

    record = started(folder.parent if is_earlier(folder) else folder)
    found = store_folder(folder, record.config if record else DEFAULTS, record)
    return given or found or Path(DEFAULTS.store)


@dataclass(frozen=True)
class Looker:
    """Looks at kernels that words name."""

    run: RunSoFar | None
    """The run of kernels that are named without one."""
    store: Path | None
    problem: str | None
    """The problem of kernels in files; None: the run's."""
    scratch: Path
    """Folder for what is built of files."""
    other: RunSoFar | None = None
    """The run of the kernel that a kernel in a file is compared with; its problem serves where no other is known."""

    def compared_with(self, word: str) -> Looker:
        """Return what looks at a kernel that is compared with the kernel that a word names.

        Raises:
            ConfigError: the word names a run that does not exist.
        """
        return replace(self, other=self._run_of(word))

    def _run_of(self, word: str) -> RunSoFar | None:
        """Return the run of the kernel that a word names: of a file, the run in whose folder it lies."""
        if is_file(word):
            folder = Path(word).parent
            return opened(folder) if self.run is None and _is_run(folder) else self.run
        name, sign, _ = word.rpartition(":")
        return opened(Path(name)) if sign else self.run

    def problem_of(self, word: str) -> Problem | None:
        """Return the problem of the kernel that a word names; None for one in a file whose problem is not known.

        The problem of a file is the named one, else that of the run, of the run in whose folder the file lies, or of
        the other kernel's run.

        Raises:
            ConfigError: the word names a run that does not exist.
        """
        run = self._run_of(word)
        if not is_file(word):
            return run.problem if run else None
        if self.problem:
            return problem_of(self.problem)
        run = run or self.other
        return run.problem if run else None

    def view(self, word: str) -> KernelView:
        """Look at a kernel: a file, `RUN:KERNEL`, or a kernel of the run.

        Raises:
            ConfigError: a word names nothing.
            ProblemError: the problem of a file cannot be judged.
        """
        from kopt.view.of_run import trial_named, view_of_trial

        if is_file(word):
            return self.view_of_file(Path(word))
        name, sign, kernel = word.rpartition(":")
        run = opened(Path(name)) if sign else self.run
        if run is None:
            raise ConfigError(f"{word!r} is no file: name a run with --run, or write RUN:KERNEL, e.g. demo:best")
        return view_of_trial(word, trial_named(kernel, run), run, store_of(run, None if sign else self.store))

    def view_of_file(self, file: Path) -> KernelView:
        """Look at a kernel in a file; where its problem is known, build it."""
        from kopt.view.of_file import view_of_source, view_of_text
        from kopt.view.of_run import techniques_of

        source = kernel_text(file)
        run = self._run_of(str(file)) or self.other
        problem = self.problem_of(str(file))
        if problem is None:
            return view_of_text(str(file), source)
        config = run.config if run else DEFAULTS
        device = run.device if run and run.device else load_device(DEFAULTS.device, ROOT)
        return view_of_source(
            str(file), source, problem, device, techniques_of(config.technique_clustering.techniques),
            Store(self.scratch.resolve()), seconds=config.limits.build_seconds,
        )  # fmt: skip


def is_file(word: str) -> bool:
    """Return whether a word names a kernel's file rather than a kernel of a run."""
    return word.endswith(".py") or ("/" in word and Path(word).is_file())


@contextmanager
def looker(run: RunSoFar | None, store: Path | None, problem: str | None) -> Iterator[Looker]:
    """Look at kernels; what is built of files is thrown away at the end."""
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        yield Looker(run, store, problem, Path(scratch))
