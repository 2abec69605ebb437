"""Make a seed kernel: trace the reference and write the module in a caged child, since a reference is foreign code."""

from __future__ import annotations

import traceback
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal, NoReturn

from kopt.device.reference.rejection import bounded, neutral
from kopt.errors import KoptError, ProblemError, SeedError
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed, Report
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.reply import pack, unpack

LIMITS = Limits(wall_s=300.0, data_bytes=8 << 30)
"""Limits of the child that makes a seed."""
LINE_CHARS = 400
"""Most characters of a reason."""


class Seed(Value):
    """A seed kernel, not verified yet."""

    source: str
    made_by: Literal["inductor", "template", "inductor and template"]
    """Who wrote its kernels."""


class _Answer(Value):
    """The answer of the child."""

    seeds: tuple[Seed, ...] = ()
    refused: str = ""


def make_seeds(problem: Problem, device: Device, *, variants: int = 1, limit_s: float = LIMITS.wall_s) -> list[Seed]:
    """Return seed kernels for a problem, in other configurations each; the usual one first, equal ones once.

    Call it in a fresh process that sees no GPU (`kopt.jobs.made_seed`).

    Args:
        problem: the problem; its own seed kernel does not matter.
        device: the device to write for.
        variants: how many to try.
        limit_s: wall-clock limit, s.

    Raises:
        SeedError: no seed can be made; one line.
        ProblemError: the reference raises.
    """
    import_inductor(device)
    task = partial(_made_in_child, problem, device, variants)
    ((_, outcome),) = run_forked([task], workers=1, limits=replace(LIMITS, wall_s=limit_s))
    answer = _received(outcome)
    if answer.refused or not answer.seeds:
        raise SeedError(one_line(answer.refused or "TorchInductor wrote nothing"))
    return list(dict.fromkeys(answer.seeds))


def one_line(text: str) -> str:
    """Write a text as one line of at most `LINE_CHARS` characters."""
    line = " ".join(bounded(text).split())
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 3]}..."


def import_inductor(device: Device) -> None:
    """Import TorchInductor before the fork: it takes seconds, and the child may not write into caches."""
    import torch

    from kopt.device.build import stub_gpu
    from kopt.seed import inductor

    for name in ("graph", "host_text", "inductor_module", "lowering", "module_text", "products.wide_scores"):
        import_module(f"kopt.seed.{name}")
    torch.set_num_threads(1)
    with stub_gpu.pretend(device, _forbidden):
        inductor.load()


def _forbidden(what: str) -> NoReturn:
    raise SeedError(f"the reference uses {what}")


# --- in the child -----------------------------------------------------------------------------------------------------


def _made_in_child(problem: Problem, device: Device, variants: int, report: Report) -> bytes:
    try:
        return pack(_Answer(seeds=tuple(write_seeds(problem, device, variants, Path.cwd()))))
    except (ProblemError, SeedError) as error:
        return pack(_Answer(refused=str(error)))
    except Exception as error:  # noqa: BLE001 - whatever TorchInductor raises means that it makes no seed
        return pack(_Answer(refused=_reason(error)))


def write_seeds(problem: Problem, device: Device, variants: int, folder: Path) -> list[Seed]:
    """Trace a reference and write its seeds, in a process that is changed for good and runs the reference's code."""
    from kopt.device.build import stub_gpu
    from kopt.seed import inductor
    from kopt.seed.graph import trace
    from kopt.seed.host_text import host_text
    from kopt.seed.inductor_module import take_apart
    from kopt.seed.lowering import module_of
    from kopt.seed.module_text import module_text
    from kopt.seed.products.wide_scores import widen

    stub_gpu.NAMED_AFTER_USE.clear()  # TorchInductor names parts of torch that a candidate may not use
    seeds = []
    with stub_gpu.pretend(device, _forbidden):
        private = inductor.load()
        for variant in range(variants):
            reference = trace(problem, private)
            is_wide = widen(reference.graph)
            written = module_of(reference, private, device, variant, is_wide=is_wide)
            reference.check_free()
            host = host_text(take_apart(written, folder), reference.names, variant, device)
            source = module_text(reference, host, problem, private.triton_helpers)
            seeds.append(Seed(source=source, made_by=_maker(bool(host.kernels), bool(host.templates))))
    return seeds


def _maker(kernels: bool, templates: bool) -> Literal["inductor", "template", "inductor and template"]:
    if kernels and templates:
        return "inductor and template"
    if not kernels and not templates:
        raise SeedError("the reference computes nothing: it only makes views or constants")
    return "template" if templates else "inductor"


def _reason(error: Exception) -> str:
    """Say in one line what TorchInductor raised, and where."""
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, KoptError):
        return str(cause)
    frames = traceback.extract_tb(cause.__traceback__)
    where = f" in {frames[-1].name}" if frames else ""
    lines = [line.strip() for line in neutral(str(cause), Path.cwd()).splitlines() if line.strip()]
    return f"TorchInductor raises {type(cause).__name__}{where}{f': {lines[0]}' if lines else ''}"


# --- in the parent ----------------------------------------------------------------------------------------------------


def _received(outcome: Outcome) -> _Answer:
    match outcome:
        case Returned(value=value):
            try:
                return unpack(value, _Answer)[0]
            except Malformed:
                return _Answer(refused="the process that makes it sent something that is no answer")
        case TimedOut(seconds=seconds):
            return _Answer(refused=f"not done within {seconds:g} s")
        case Raised(kind=kind, message=message):
            return _Answer(refused=f"{kind}: {message}")
        case Died(reason=reason):
            return _Answer(refused=f"the process that makes it {reason}")
