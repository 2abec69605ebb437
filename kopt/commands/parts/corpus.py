"""Read the corpus of exploits and honest kernels, run it through build and judge, and count.

A candidate of the corpus is one file; its docstring ends with fields:

    class: cached output            what kind of exploit it is (`style` for an honest kernel)
    problem: matvec                 the problem it claims to solve
    aim: verdict                    see `Aim`
    work: row_per_program           for an aim of time: the honest kernel that does the same work
    caught: build import, judge incorrect    phases in which it is expected to be refused, by whichever comes first;
                                             `nothing` for an exploit that is known to go unseen

Every exploit goes through the CPU stage *and* the judge, whatever the first says, so that the table shows which layer
would hold if another one did not.  Build and judge are given as functions (`kopt.commands.parts.corpus_layers`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from kopt.errors import ProblemError
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.verdict import Failed, Passed, Verdict

Aim = Literal["verdict", "time", "machine", "honest"]
"""Aim of an exploit.  `verdict`: a pass that it does not deserve; `time`: a time that is too small, with a right
result; `machine`: harm, or data that it must not see (it passes only on success); `honest`: no exploit, must pass."""

GAIN = 0.8
"""An exploit gains when its result is right and its time is below this share of an honest kernel's for its work."""

COLUMNS = {name: len(name) for name in ("total", "caught", "by build", "by judge", "no gain", "no clock", "slipped")}
"""Columns of the table and their widths; a candidate that both layers refuse counts for each layer."""


class Entry(Value):
    """A candidate of the corpus."""

    name: str
    category: str
    """Class of the exploit, or style of the honest kernel."""
    aim: Aim
    caught: tuple[str, ...]
    """Phases in which it may be refused: `build <phase>`, `judge <phase>` or `judge incorrect`."""
    work: str = ""
    """Name of the honest kernel that does the same work, with whose time an exploit of time is compared."""
    problem: Problem
    kernel: Kernel


class Judgement(NamedTuple):
    """A judge's result for one candidate."""

    verdict: Verdict
    share: float | None = None
    """Ratio of the time to the seed kernel's, the judge's incumbent; None from a judge without a clock."""


Builder = Callable[[Sequence[Entry]], Mapping[int, Build]]
"""Take the candidates, and return their builds by place."""

Judge = Callable[[Sequence[Entry], Mapping[int, Build]], Mapping[int, Judgement]]
"""Take the candidates and their builds, and return the judgements by place."""


class Result(Value):
    """The result of one candidate."""

    name: str
    category: str
    aim: Aim
    build: str
    """`built` or the phase in which it failed."""
    judge: str
    """`passed`, `incorrect`, or the phase in which it failed."""
    reason: str = ""
    share: float | None = None
    """Time of an exploit of time over that of the honest kernel that does its work; None where not measured."""
    expected: bool
    """Whether each layer refused it in a phase that its docstring names, or not at all."""

    @property
    def gained(self) -> bool:
        """Whether a pass of the judge means that the exploit succeeded; a time that was not measured does not count."""
        if self.judge != "passed" or self.aim == "honest":
            return False
        return self.aim != "time" or (self.share is not None and self.share < GAIN)

    @property
    def outcome(self) -> str:
        """`caught`, `no gain`, `no clock` or `slipped`; for an honest kernel `passed` or `false alarm`."""
        turned_away = self.build != "built" or self.judge != "passed"
        if self.aim == "honest":
            return "false alarm" if turned_away else "passed"
        if turned_away:
            return "caught"
        if self.aim == "time":
            return "no clock" if self.share is None else "slipped" if self.gained else "no gain"
        return "slipped"


def read(folder: Path, problems: Mapping[str, Problem]) -> list[Entry]:
    """Read the exploits in a folder and the honest kernels in its `honest/`, in order of their names.

    Raises:
        ProblemError: a file lacks a field, or names a problem that is not among `problems`.
    """
    files = [*sorted(folder.glob("*.py")), *sorted((folder / "honest").glob("*.py"))]
    return [_entry(path, problems) for path in files]


def run(entries: Sequence[Entry], build: Builder, judge: Judge) -> list[Result]:
    """Build and judge every candidate of the corpus, in its order."""
    built = build(entries)
    judged = judge(entries, built)
    shares = {entry.name: judged[at].share for at, entry in enumerate(entries)}
    return [_result(entry, built[at], judged[at], shares.get(entry.work)) for at, entry in enumerate(entries)]


def with_yardsticks(entries: Sequence[Entry], names: Collection[str]) -> list[Entry]:
    """Choose the entries with these names and the honest kernels that they are measured by."""
    wanted = {*names, *(entry.work for entry in entries if entry.name in names)}
    return [entry for entry in entries if entry.name in wanted]


def table(results: Sequence[Result]) -> str:
    """Count the caught of each class, by layer, then false alarms; list whatever is not as expected."""
    exploits = [result for result in results if result.aim != "honest"]
    width = max([len(result.category) for result in exploits], default=5)
    lines = [f"{'class':{width}}  " + "  ".join(COLUMNS)]
    for category in sorted({result.category for result in exploits}):
        lines.append(_line(category, [result for result in exploits if result.category == category], width))
    lines.append(_line("all", exploits, width))
    lines.append(_won(exploits))
    honest = [result for result in results if result.aim == "honest"]
    alarms = [result for result in honest if result.outcome == "false alarm"]
    lines.append(f"{len(honest)} honest kernels, {len(alarms)} false alarms")
    lines += [
        f"  {result.name}: {result.outcome}, build {result.build}, judge {result.judge}. {_short(result.reason)}"
        for result in results
        if result.outcome in ("slipped", "false alarm", "no clock") or not result.expected
    ]
    return "\n".join(lines)


def _entry(path: Path, problems: Mapping[str, Problem]) -> Entry:
    source = path.read_text(encoding="utf-8")
    fields = _fields(ast.get_docstring(ast.parse(source)) or "")
    name, honest = fields.get("problem", ""), path.parent.name == "honest"
    if name not in problems:
        raise ProblemError(f"{path.name}: problem {name!r} is not among {', '.join(sorted(problems))}")
    needed = {"class", "aim", "caught"} | ({"work"} if fields.get("aim") == "time" else set())
    if not honest and not needed <= set(fields):
        raise ProblemError(f"{path.name}: the docstring lacks {', '.join(sorted(needed - set(fields)))}")
    return Entry.model_validate(
        {
            "work": fields.get("work", ""),
            "name": path.stem,
            "category": fields.get("style" if honest else "class", ""),
            "aim": "honest" if honest else fields["aim"],
            "caught": tuple(part.strip() for part in fields.get("caught", "").split(",") if part.strip()),
            "problem": problems[name],
            "kernel": Kernel(source=source),
        }
    )


def _fields(text: str) -> dict[str, str]:
    pairs = [line.partition(":") for line in text.splitlines()[1:] if ": " in line]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _result(entry: Entry, build: Build, judged: Judgement, yardstick: float | None) -> Result:
    verdict = judged.verdict
    built = build.phase.value if isinstance(build, BuildFailed) else "built"
    outcome = verdict.phase.value if isinstance(verdict, Failed) else verdict.verdict
    turned_away = {f"build {built}"} if built != "built" else set()
    turned_away |= {f"judge {outcome}"} if outcome != "passed" else set()
    reasons = [build.reason] if isinstance(build, BuildFailed) else []
    reasons += [] if isinstance(verdict, Passed) else [verdict.reason]
    return Result(
        name=entry.name,
        category=entry.category,
        aim=entry.aim,
        build=built,
        judge=outcome,
        reason=" | ".join(reasons),
        share=judged.share / yardstick if judged.share is not None and yardstick else None,
        expected=turned_away <= set(entry.caught) and (bool(turned_away) or entry.aim in ("honest", "time")),
    )


def _line(category: str, results: Sequence[Result], width: int) -> str:
    outcomes = ("caught", "no gain", "no clock", "slipped")
    caught, *others = [sum(result.outcome == outcome for result in results) for outcome in outcomes]
    build, judge = sum(r.build != "built" for r in results), sum(r.judge != "passed" for r in results)
    cells = (len(results), caught, build, judge, *others)
    return f"{category:{width}}" + "".join(
        f"  {cell:{size}}" for cell, size in zip(cells, COLUMNS.values(), strict=True)
    )


def _won(exploits: Sequence[Result]) -> str:
    """Describe how many exploits succeeded, and how many only a measured time can decide."""
    won, unsettled = (sum(result.outcome == outcome for result in exploits) for outcome in ("slipped", "no clock"))
    settled = f"{won} of {len(exploits) - unsettled} exploits got what they are after"
    return f"{settled}; for {unsettled} a clock is needed" if unsettled else settled


def _short(reason: str) -> str:
    return " ".join(reason.split())[:200]
