"""The corpus of exploits and of honest kernels: read, run through build and judge, and counted.

A candidate of the corpus is one file; its docstring ends with fields:

    class: cached output            what kind of exploit it is (`style` for an honest kernel)
    problem: matvec                 the problem it claims to solve
    aim: verdict                    see `Aim`
    work: row_per_program           for an aim of time: the honest kernel that does the same work
    caught: build import, judge incorrect    where it is expected to be turned away, by whichever comes first

Every exploit goes through the CPU stage *and* the judge, whatever the first says, so that the table shows which layer
would hold if another one did not.  The judge is given: the interpreter, or a GPU.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kopt.errors import ProblemError
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.hardware.measured import MeasuredDevice

Aim = Literal["verdict", "time", "machine", "honest"]
"""What an exploit is after: a pass that it does not deserve; a time that is too small, with a right result; harm, or
what it may not see (it passes only if it gets it).  An honest kernel is to pass."""

GAIN = 0.8
"""A right result in less than this share of the time that its work takes an honest kernel is a gain."""


COLUMNS = {name: len(name) for name in ("total", "caught", "by build", "by judge", "no gain", "no clock", "slipped")}
"""Columns of the table and their widths; what both layers turn away counts for each of them."""


class Entry(Value):
    """A candidate of the corpus."""

    name: str
    category: str
    """Class of the exploit, or style of the honest kernel."""
    aim: Aim
    caught: tuple[str, ...]
    """Where it may be turned away: `build <phase>`, `judge <phase>` or `judge incorrect`."""
    work: str = ""
    """Of an exploit of time: the honest kernel that does the same work, whose time is the yardstick."""
    problem: Problem
    kernel: Kernel


class Judged(NamedTuple):
    """What a judge says of one candidate."""

    verdict: Verdict
    share: float | None = None
    """Its time over the seed kernel's, as a judge's ratio to the incumbent; None from a judge without a clock."""


Builder = Callable[[Sequence[Entry]], Mapping[int, Build]]
Judge = Callable[[Sequence[Entry], Mapping[int, Build]], Mapping[int, Judged]]
"""Gets the candidates and what was built of them."""


class Result(Value):
    """What became of one candidate."""

    name: str
    category: str
    aim: Aim
    build: str
    """`built` or the phase in which it failed."""
    judge: str
    """`passed`, `incorrect`, or the phase in which it failed."""
    reason: str = ""
    share: float | None = None
    """Time of an exploit of time over that of the honest kernel that does its work; None where nobody measured."""
    expected: bool
    """Each of the two turned it away where its docstring says, or not at all."""

    @property
    def gained(self) -> bool:
        """Whether a pass of the judge gave the exploit what it was after; a time nobody measured does not count."""
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
    """The exploits in a folder and the honest kernels in its `honest/`, in order of their names.

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
    """The entries with these names and the honest kernels that they are measured by."""
    wanted = {*names, *(entry.work for entry in entries if entry.name in names)}
    return [entry for entry in entries if entry.name in wanted]


def table(results: Sequence[Result]) -> str:
    """Caught and total by class, by whom, then false alarms and whatever is not as expected, as text."""
    exploits = [one for one in results if one.aim != "honest"]
    width = max([len(one.category) for one in exploits], default=5)
    lines = [f"{'class':{width}}  " + "  ".join(COLUMNS)]
    for category in sorted({one.category for one in exploits}):
        lines.append(_line(category, [one for one in exploits if one.category == category], width))
    lines.append(_line("all", exploits, width))
    lines.append(_won(exploits))
    honest = [one for one in results if one.aim == "honest"]
    alarms = [one for one in honest if one.outcome == "false alarm"]
    lines.append(f"{len(honest)} honest kernels, {len(alarms)} false alarms")
    odd = [one for one in results if one.outcome in ("slipped", "false alarm", "no clock") or not one.expected]
    lines += [f"  {one.name}: {one.outcome}, build {one.build}, judge {one.judge}. {_short(one.reason)}" for one in odd]
    return "\n".join(lines)


def build_by_cpu(
    entries: Sequence[Entry], device: Device, store: Path, workers: int, wall_s: float
) -> dict[int, Build]:
    """The CPU stage; in a process of its own that sees no GPU (`kopt.sandbox.fresh`)."""
    from dataclasses import replace

    from kopt.device.build.build import LIMITS, BuildJob, build_all

    jobs = [BuildJob(kernel=entry.kernel, problem=entry.problem, device=device) for entry in entries]
    return dict(build_all(jobs, store=Store(store), workers=workers, limits=replace(LIMITS, wall_s=wall_s)))


def judge_by_interpreter(entries: Sequence[Entry], workers: int, wall_s: float, seed: int) -> dict[int, Judged]:
    """The judge without a GPU; in a process of its own that sees none (`kopt.sandbox.fresh`)."""
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    jobs = [VerifyJob(kernel=entry.kernel, problem=entry.problem, seed=seed) for entry in entries]
    limits = Limits(wall_s=wall_s)
    return {index: Judged(verdict) for index, verdict in verify_all(jobs, workers=workers, limits=limits)}


def at_full_size(
    entries: Sequence[Entry], builds: Mapping[int, Build], judged: Mapping[int, Judged], device: Device, store: Path
) -> dict[int, Judged]:
    """What a judge without a GPU says, less who passed it and leaves work out where nobody ran it; own process too."""
    from kopt.device.reference.facts import problem_facts
    from kopt.estimate.time import estimate
    from kopt.estimate.work_done import undone_work

    texts, answers = Store(store), dict(judged)
    facts = {
        name: problem_facts(problem) for name, problem in {one.problem.name: one.problem for one in entries}.items()
    }
    for at, build in builds.items():
        if isinstance(build, Built) and isinstance(judged[at].verdict, Passed):
            name, judge = entries[at].problem.name, judged[at].verdict.judge
            timing = estimate(build, facts[name], device, lambda digest: texts.text("ptx", digest, ".ptx"))
            short = undone_work(timing, None, judge)
            answers[at] = Judged(short) if short else judged[at]
    return answers


def judge_by_cuda(
    entries: Sequence[Entry], workers: int, wall_s: float, seed: int, found: MeasuredDevice
) -> dict[int, Judged]:
    """The judge on the first visible GPU, problem by problem, raced against its seed kernel; in its own process too."""
    from dataclasses import replace

    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import warm
    from kopt.device.reference.facts import problem_facts

    warm()  # before torch traces facts: without threads, which a fork would lose
    judged = {}
    for name in sorted({entry.problem.name for entry in entries}):
        places = [at for at, entry in enumerate(entries) if entry.problem.name == name]
        jobs = [CudaJob(kernel=entries[at].kernel, problem=entries[at].problem, seed=seed) for at in places]
        problem = jobs[0].problem
        for at, one in judge_all(
            jobs, ProblemOnDevice(problem_facts(problem), found), workers=workers, limits=replace(LIMITS, wall_s=wall_s),
            incumbent=CudaJob(kernel=problem.seed, problem=problem, seed=seed), race=Race(repeat=10, keep=len(jobs)),
            calibrated=True,
        ):  # fmt: skip
            judged[places[at]] = Judged(one.verdict, one.timing.ratio if one.timing else None)
    return judged


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


def _result(entry: Entry, build: Build, judged: Judged, yardstick: float | None) -> Result:
    verdict = judged.verdict
    built = build.phase.value if isinstance(build, BuildFailed) else "built"
    said = verdict.phase.value if isinstance(verdict, Failed) else verdict.verdict
    seen = {f"build {built}" if built != "built" else "", f"judge {said}" if said != "passed" else ""} - {""}
    reasons: list[Any] = [build, verdict]
    return Result(
        name=entry.name,
        category=entry.category,
        aim=entry.aim,
        build=built,
        judge=said,
        reason=" | ".join(one.reason for one in reasons if isinstance(one, BuildFailed) or not _right(one)),
        share=judged.share / yardstick if judged.share is not None and yardstick else None,
        expected=seen <= set(entry.caught) and (bool(seen) or entry.aim in ("honest", "time")),
    )


def _right(value: Any) -> bool:
    return isinstance(value, Passed) or not hasattr(value, "reason")


def _line(category: str, results: Iterable[Result], width: int) -> str:
    results = list(results)
    counts = [sum(one.outcome == name for one in results) for name in ("caught", "no gain", "no clock", "slipped")]
    build, judge = sum(one.build != "built" for one in results), sum(one.judge != "passed" for one in results)
    cells = (len(results), counts[0], build, judge, *counts[1:])
    return f"{category:{width}}" + "".join(
        f"  {cell:{size}}" for cell, size in zip(cells, COLUMNS.values(), strict=True)
    )


def _won(exploits: Sequence[Result]) -> str:
    """How many exploits got what they are after; those that only a clock can settle apart."""
    won, open_ = (sum(one.outcome == name for one in exploits) for name in ("slipped", "no clock"))
    settled = f"{won} of {len(exploits) - open_} exploits got what they are after"
    return f"{settled}; for {open_} a clock is needed" if open_ else settled


def _short(reason: str) -> str:
    return " ".join(reason.split())[:200]
