"""Make subjects, callables that are timed: replays of candidates, and calls of the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple  # inputs of a problem may have any type

import torch

from kopt.device.cuda.recording.replay import Replay, Storages
from kopt.device.cuda.sharing.sheets import put_state
from kopt.device.cuda.timer.opened_inputs import OpenedInputs
from kopt.device.reference import setup
from kopt.device.reference.tree import taken_apart
from kopt.model.problem import Problem

STEP_CYCLES = 100_000
"""Further cycles for which the device is kept busy for every step of a replay."""


class TimedSubject(NamedTuple):
    """A callable that is timed."""

    call: Callable[[int, Storages | None, bool], list[torch.Tensor]]
    """Maps position of the input set, memory and "leave launches out" to the tensors of the result."""
    memory: Callable[[], Storages] = dict
    """Makes the memory of one call, full of NaN; baselines allocate their memory themselves."""
    queue_cycles: int = 0
    """Cycles for which the clock keeps the device busy, beyond `HEAD_START_CYCLES`, while the host queues the call."""


def replayed(replay: Replay, sets: Sequence[OpenedInputs]) -> TimedSubject:
    """Make a subject of a candidate's program, which is replayed on these input sets."""
    storages = [input_set.storages for input_set in sets]

    def run(place: int, memory: Storages | None, ghost: bool) -> list[torch.Tensor]:
        return [*replay.run(storages[place], memory=memory, ghost=ghost), *sets[place].changed]

    return TimedSubject(run, replay.memory, replay.steps * STEP_CYCLES)


def called(function: Callable[..., Any], sets: Sequence[OpenedInputs]) -> TimedSubject:
    """Make a subject of the reference, or of what a compiler made of it, which is called on these input sets."""

    def run(place: int, memory: Storages | None, ghost: bool) -> list[torch.Tensor]:
        with torch.no_grad():
            output = function(*sets[place].inputs)
        return [*taken_apart(output, "output").tensors.values(), *sets[place].changed]

    return TimedSubject(run)


def reference_model(problem: Problem, input_set: OpenedInputs) -> torch.nn.Module:
    """Make the reference model on the shared state; what a call changes in the state is the model's own."""
    with torch.device("cuda"):
        reference = setup.load_reference(problem, input_set.sheet.workload)
        model = setup.make_model(reference, problem)
    kept = input_set.pristine
    state = {name: one.clone() if name in kept else one for name, one in input_set.arguments.items()}
    put_state(model, state)
    return model
