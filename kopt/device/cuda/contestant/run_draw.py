"""Run a candidate on one draw, and report what its call did; the report is not trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any  # a candidate may return anything

import torch

from kopt.device.cuda.contestant.draw_in_memory import DrawInMemory
from kopt.device.cuda.contestant.private_arguments import PrivateArguments
from kopt.device.cuda.recording.capture import CallCapture
from kopt.device.expected.outputs import DescribedOutput, described_tensor, same_arguments
from kopt.device.reference import contract
from kopt.device.reference.rejection import Rejected, describe
from kopt.device.reference.tree import taken_apart
from kopt.model.base import Value
from kopt.model.build import Phase


class DrawReport(Value):
    """A contestant's report of one draw."""

    output: DescribedOutput = DescribedOutput("")
    launches: int = 0
    """Triton kernels that the call launched."""
    mutated: tuple[int, ...] = ()
    """Positions of the argument tensors that changed."""
    phase: str = ""
    """Phase in which the run failed; empty when it did not."""
    reason: str = ""
    starved: bool = False
    """The run failed for want of device memory, which neighbours may have taken."""


def run_draw(
    entry: Callable[..., Any], draw: DrawInMemory, private: PrivateArguments, capture: CallCapture
) -> DrawReport:
    """Run the candidate on one draw and copy its result at once."""
    private.load(draw)
    before, tries = capture.launches, _memory_tries()
    try:
        arguments = contract.bind_arguments(entry, private.inputs, private.model, private.reference)
        with torch.no_grad():
            output = taken_apart(arguments.call(entry), "output", (torch.Tensor,))
        torch.cuda.synchronize()
    except Rejected as rejected:
        return DrawReport(phase=rejected.phase.value, reason=rejected.reason)
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        starved = isinstance(error, torch.OutOfMemoryError) or _memory_tries() > tries
        reason = describe(error, Path.cwd())
        return DrawReport(
            phase=Phase.LAUNCH.value, reason=f"out of device memory: {reason}" if starved else reason, starved=starved
        )
    tensors = list(output.tensors.values())
    draw.keep([*tensors, *(private.tensors[name] for name in draw.sheet.changed)])
    same = same_arguments(tensors, private.tensors)
    description = DescribedOutput(output.structure, tuple(map(described_tensor, tensors)), same)
    report = DrawReport(output=description, launches=capture.launches - before)
    return report.model_copy(update={"mutated": private.changed(draw)})


def _memory_tries() -> int:
    """Count how often torch found no device memory and tried once more.

    The count shows a failed allocation where torch raises another error: before its own error, torch asks NVML which
    processes hold the memory, which a caged process may not.
    """
    return int(torch.cuda.memory_stats().get("num_alloc_retries", 0))
