"""Find a problem's folder, and read the problem in its format."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from kopt.discovery import modules_of
from kopt.errors import ProblemError, nearest_and
from kopt.model.problem import Problem
from kopt.problem.format import Format
from kopt.problem.unread import why_unread

ENDINGS = (".py", ".json")
"""Endings of files that may hold a problem."""


def formats() -> tuple[Format, ...]:
    """List all formats in the order in which they are tried: the `FORMAT` of each module of `kopt.problem.formats`."""
    return tuple(module.FORMAT for module in modules_of("kopt.problem.formats").values())


def names(folder: Path) -> tuple[str, ...]:
    """List the problems under a folder of problems, sorted by name."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def find(word: str, shipped: Path) -> Path:
    """Return the folder or file that a word of a command line means: a shipped problem's name, or a path.

    Args:
        word: a file in some format, else the name of a shipped problem where it has no slash, else a folder that
            holds a problem.
        shipped: the folder of the shipped problems, which error messages list.

    Raises:
        ProblemError: the word leads to no problem; the message names shipped problems only, not the path's neighbours.
            A file that is there and holds no problem is returned: `load` says what is wrong with it.
    """
    path = Path(word)
    if path.suffix and _is_file(path) and any(format.matches(path) for format in formats()):
        return path
    if path.suffix and not _is_folder(shipped / word) and not _is_folder(path):
        if _is_file(path):
            return path
        if path.suffix in ENDINGS:
            raise ProblemError(f"there is no file {word!r}{_listed(path.stem, shipped)}")
    if word and "/" not in word and word not in (".", ".."):
        if _is_folder(shipped / word) or _is_file(shipped / word):
            return shipped / word
        if _is_folder(path) and _holds_problem(path):
            return path
        raise _unknown(shipped / word)
    if not word or not _is_folder(path):
        raise ProblemError(
            f"{word!r} is not a folder: name a problem or its folder{_listed(path.name, shipped, path.parent)}"
        )
    if not _holds_problem(path):
        files = dict.fromkeys(str(file.relative_to(path)) for format in formats() for file in format.files(path))
        near = _listed(path.name, shipped, path.parent)
        raise ProblemError(f"{word!r} holds no problem: it has none of {', '.join(files)}{near}")
    return path if path.name not in ("", "..") else path.resolve()  # a problem is named like its folder


def load(folder: Path) -> Problem:
    """Read the problem in a folder or a file; its name is the folder's, or the file's without its ending.

    Raises:
        ProblemError: one line that says what is wrong and where; for a missing folder, with the nearest name.
    """
    if not _is_folder(folder) and not _is_file(folder):
        raise _unknown(folder)
    check_file(folder)
    return format_of(folder).read(folder)


def _unknown(place: Path) -> ProblemError:
    return ProblemError(f"unknown problem {place.name!r}{_listed(place.name, place.parent)}")


def check_file(path: Path) -> None:
    """Refuse a file that is in no format; a folder passes.

    Raises:
        ProblemError: one line that says what the file lacks.
    """
    if _is_file(path) and not any(format.matches(path) for format in formats()):
        raise ProblemError(why_unread(path))


def reference_file(place: Path) -> str:
    """Return how messages name the file that holds the reference as it stands; empty where none does."""
    file = files(place)[0]
    if file.suffix != ".py":
        return ""
    return place.name if _is_file(place) else f"{place.name}/{file.name}"


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files from which the problem in a folder is read, whether they exist or not."""
    return format_of(folder).files(folder)


def format_of(folder: Path) -> Format:
    """Return the first format that matches a folder; else the format with the most of its files in the folder."""
    matching = [format for format in formats() if format.matches(folder)]
    return matching[0] if matching else max(formats(), key=lambda format: _existing(format, folder))


def _existing(format: Format, folder: Path) -> int:
    return sum(file.exists() for file in format.files(folder))


def _listed(name: str, folder: Path, beside: Path = Path()) -> str:
    """Write the end of a message: the nearest name of a problem, and all problems under `folder`.

    Args:
        name: the name that is unknown.
        folder: holds problems.
        beside: where the user's own problem may lie: folders and Python files there may be meant, too.
    """
    problems = [name for name in names(folder) if any(format.matches(folder / name) for format in formats())]
    own = [path.name for path in _listing(beside) if path.name != name and (path.suffix == ".py" or _is_folder(path))]
    known = f"problems are {', '.join(problems)}" if problems else f"{folder} holds no problems"
    return nearest_and(name, [*problems, *own], known)


def _listing(folder: Path) -> list[Path]:
    """List what a folder holds but hidden files; nothing where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _holds_problem(path: Path) -> bool:
    return any(file.exists() for format in formats() for file in format.files(path))


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long
        return path.is_dir()
    return False


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long
        return path.is_file()
    return False
