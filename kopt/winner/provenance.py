"""Write the provenance of a kernel: comments for the head of its file, and a docstring that is true of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from kopt.model.problem import TensorSpec, Workload
from kopt.neutral import one_line
from kopt.report.numbers import percent, ratio, speedup_text, time_text
from kopt.winner.accepted import contiguous
from kopt.winner.recompiled import recompiled_sizes
from kopt.winner.source import has_atomics, is_autotuned, kernels, without_dead_kernels
from kopt.winner.winner import Winner

WIDTH = 105
LABEL = 10


def docstring(winner: Winner) -> str:
    """Write the docstring of the kernel's module, quotes included."""
    names = kernels(without_dead_kernels(winner.source, winner.launched))
    made = f"{len(names)} Triton kernel{'' if len(names) == 1 else 's'} ({', '.join(names)})" if names else "Triton"
    others = [name for name in kernels(without_dead_kernels(winner.source)) if name not in names]
    made += f", at other sizes {', '.join(others)}" if others else ""
    problem, entry = winner.problem, winner.problem.seed.entry
    return (
        f'"""{problem.name}: {made}, called by `{entry}`.\n\n'
        f"`{entry}` takes the inputs of the reference's `forward`, then by name what else its signature asks for:\n"
        'parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.\n"""'
    )


def comments(winner: Winner) -> str:
    """Write what is known of the kernel, as comments; foreign text stands on single lines of printable characters."""
    return as_comments(_facts(winner))


def as_comments(facts: Iterable[tuple[str, str]]) -> str:
    """Write facts with their labels as comments."""
    return "\n".join(_comment(label, text) for label, text in facts)


def _facts(winner: Winner) -> Iterator[tuple[str, str]]:
    figures, estimated = winner.figures, winner.figures.estimated
    living = without_dead_kernels(winner.source)
    yield "problem", f"{winner.problem.name}, {winner.problem.dtypes}"
    yield "run", one_line(winner.run)
    yield "kernel", f"{winner.name}, made by kopt {winner.versions.get('kopt', '')}"
    yield (
        "lineage",
        one_line(winner.start) + (", then, in the words of proposers, which nobody checked:" if winner.steps else ""),
    )
    for place, (model, description) in enumerate(winner.steps, 1):
        yield "", f"{place}. {one_line(description, 400) or 'no description'} ({one_line(model, 80)})"
    yield "verdict", _verdict(winner)
    low_high = f", 95 % interval {figures.interval[0]:.4f} to {figures.interval[1]:.4f} ms" if figures.interval else ""
    how = f"estimated for {winner.device}, not measured" if estimated else f"measured on {winner.device}"
    yield "time", f"{figures.best_ms:.4f} ms{low_high}, {how}; {percent(figures.roofline_share)} of the roofline"
    for name, text in _others(winner):
        yield "", f"{name} {text}"
    yield "versions", ", ".join(f"{name} {text}" for name, text in winner.versions.items() if name != "kopt")
    for workload in winner.workloads:
        tensors = (*workload.inputs, *workload.parameters)
        yield "shapes", f"{workload.workload}: {_tensors(tensors)} -> {_tensors(workload.outputs)}"
    yield "", f"verified on other sizes too: {'; '.join(map(_sizes, winner.others)) or 'none'}"
    yield "assumes", "dtypes and strides as above: inputs as `get_inputs` of the reference makes them"
    for one in winner.given[0].arguments if winner.given else ():
        if one.stride != contiguous(one.shape):
            yield "", f"{one.name} has the strides {one.stride}"
    if has_atomics(living):
        yield "order", "atomic operations end in any order: results may differ in their last bits from call to call"
    else:
        yield "order", "sums are in a fixed order: equal inputs give equal bits on one device and version"
    if is_autotuned(living):
        kept = " of another size than the timed ones, for which it has the one that won" if winner.is_tuned else ""
        yield "tuning", f"an autotuner times its configurations when it first meets a shape{kept}"
    if sizes := recompiled_sizes(living):
        listed = ", ".join(name if name == passed else f"{name} ({passed})" for name, passed in sizes.items())
        yield "compiles", f"anew, in seconds, when it first meets another value of {one_line(listed, 200)}"


def _verdict(winner: Winner) -> str:
    checks = f" in {winner.checks} comparisons" if winner.checks else ""
    return {
        "interpret": f"right{checks} on small sizes in kopt's interpreter; nothing has run on a GPU",
        "cuda": f"right{checks} on a GPU, on new inputs after the search",
    }.get(winner.judge, "not judged: a dry run, whose times are made up")


def _others(winner: Winner) -> Iterator[tuple[str, str]]:
    figures = winner.figures
    if figures.against:
        for one in figures.against:
            yield one.name, f"{time_text(one.ms, False)}, {ratio(one.speedup)} ({one.low:.3f} to {one.high:.3f})"
        return
    timed = (("seed", figures.seed_ms), ("eager", figures.eager_ms), ("torch.compile", figures.compile_ms))
    for name, ms in timed:
        if ms is not None:
            speedup = speedup_text(ms / figures.best_ms, "", figures.estimated)
            yield name, f"{time_text(ms, figures.estimated)}, {speedup}"


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)


def _sizes(workload: Workload) -> str:
    sizes = ", ".join(f"{name}={value}" for name, value in workload.constants.items())
    return f"{workload.name} ({sizes or 'as in the reference'})"


def _comment(label: str, text: str) -> str:
    first, *others = wrap(text, WIDTH, break_on_hyphens=False) or [""]
    lines = [f"# {label:<{LABEL}} {first}", *(f"# {'':<{LABEL}} {line}" for line in others)]
    return "\n".join(line.rstrip() for line in lines)
