"""Find by trying, on a small workload, which inputs vary, and which of their elements change the reference's output.

Algebra can make elements unnecessary that every operation reads: the mean of normalised values is a constant, and zeros
below a diagonal are known.  Such elements must not be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any  # inputs are of whatever type a problem chooses

import torch

from kopt.device.facts.eager_ops import EagerOps, recording
from kopt.device.reference import setup
from kopt.device.reference.contract import build_tensors
from kopt.device.reference.forward import call
from kopt.device.reference.layout import copied_inputs
from kopt.device.reference.seeding import seed_random
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Workload

ROUNDING = 1e-3
"""Largest output below which a reference may give nothing but rounding errors."""
PROBES = 24
"""Elements of each input that are changed, one at a time; four times as many where some of them do not matter."""
FEWEST = 6
"""Probes below which nothing is said of an input; all of its elements where it has fewer."""
TOO_LARGE = 1 << 23
"""Elements of all inputs above which nothing is tried."""
FEW_VALUES = 0.9
"""Share of varying elements above which all count as varying: others were equal by chance (draws of few values)."""
CHANCE = 4
"""Possible combinations of values over pairs of elements, from which equal elements are no chance."""
EFFORT = 1e9
"""Work of all probes of a problem, ns on one core as estimated; runs of the reference are counted, not timed."""
OPERATION, ELEMENT, PRODUCT = 1e4, 2.0, 0.2
"""Estimated work of one operation of torch, of one element that it moves, and of one operation of a product, ns."""
VISIBLE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""Least change of an output, over its largest element, that is no rounding, by the dtype of the inputs."""


def influential_shares(problem: Problem, workload: Workload) -> dict[str, float]:
    """Return the share of each input's elements that vary from draw to draw and change the output, at least.

    The keys are `input 0` and so on by position, and `model weight`.  An input for which nothing is known is left out.

    Raises:
        Exception: the reference cannot be run on the CPU; the problem's code may raise anything.
    """
    *wider, own = torch.float64, torch.float32, setup.torch_dtype(problem)
    with _one_thread(), torch.device("cpu"), torch.no_grad():
        for dtype in wider:
            try:
                return _shares_in(problem, workload, dtype)
            except (ProblemError, RuntimeError, NotImplementedError, TypeError):
                continue  # e.g. an operand whose dtype the reference chooses itself
        return _shares_in(problem, workload, own)


def changed_shares(problem: Problem, workload: Workload) -> dict[str, float]:
    """Return the share of the elements of each changed input to which the reference gives another value.

    The keys are `input 0` and so on; an input without a change is left out.

    Raises:
        Exception: the reference cannot be run on the CPU; the problem's code may raise anything.
    """
    with _one_thread(), torch.device("cpu"), torch.no_grad():
        reference = setup.load_reference(problem, workload)
        model = setup.make_model(reference, problem, seed=0)
        inputs = setup.make_inputs(reference, problem, seed=1)
        before = {name: tensor.clone() for name, tensor in build_tensors(inputs).items()}
        call(model, inputs)
        pairs = [(name, before[name], tensor) for name, tensor in build_tensors(inputs).items() if tensor.numel()]
        shares = {name: float((old != new).double().mean()) for name, old, new in pairs}
    return {name: share for name, share in shares.items() if share}


def _shares_in(problem: Problem, workload: Workload, dtype: torch.dtype) -> dict[str, float]:
    reference = setup.load_reference(problem, workload)
    model = setup.make_model(reference, problem, seed=0).to(dtype)
    draws = [setup.make_inputs(reference, problem, seed=seed) for seed in (1, 2, 3)]
    inputs = copied_inputs(draws[0], dtype)
    if sum(tensor.numel() for tensor in tensors_of(inputs)) > TOO_LARGE:
        return {}
    run, visible = _runner(model, inputs), VISIBLE.get(dtype, max(VISIBLE.values()))
    with recording() as eager:
        first = run()
    runs = int(EFFORT / _work(eager, [*tensors_of(inputs), *first]))
    if runs < FEWEST or _differ(first, run(), visible):
        return {}
    varying = _varying_shares(draws)
    given = build_tensors(inputs, model)
    shares = {}
    for left, (name, tensor) in zip(
        range(len(given), 0, -1), sorted(given.items(), key=lambda item: -item[1].numel()), strict=True
    ):
        most, made = max(runs // left, min(runs, 3 * FEWEST)), 0
        hits: list[bool] = []
        for place in _places(tensor, 4 * PROBES):
            if made + 3 > most or (len(hits) >= PROBES and all(hits)):
                break
            hit = False
            for now in _runs_with_another(tensor, place, run):
                made += 1
                hit = hit or _differ(first, now, visible)
                if hit:
                    break
            hits.append(hit)
        runs -= made
        if hits and len(hits) >= min(FEWEST, tensor.numel()):
            share = min(varying.get(name, 1.0), _at_least(sum(hits), len(hits)))
            shares[name] = share * _own_share(name, draws)
    return shares


def _work(eager: EagerOps, compared: list[torch.Tensor]) -> float:
    """Return the work of one run of the reference, ns as estimated."""
    moved = sum(tensor.numel() for node in eager.nodes for tensor in (*node.read, *node.written))
    moved += 2 * sum(tensor.numel() for tensor in compared)  # inputs are copied, outputs are compared
    products = sum(operation.matmul_flops for operation in eager.operations)
    return OPERATION * (len(eager.nodes) + 2 * len(compared)) + ELEMENT * moved + PRODUCT * products


def _runner(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Callable[[], list[torch.Tensor]]:
    """Return a function that runs the reference on copies of `inputs`: the returned tensors and the inputs afterwards.

    Inputs are left out that the first run does not change.
    """
    changes: set[str] | None = None

    def run() -> list[torch.Tensor]:
        nonlocal changes
        seed_random(0)
        copies = copied_inputs(inputs)
        versions = {name: tensor._version for name, tensor in build_tensors(copies).items()}
        returned = tensors_of(call(model, copies))
        after = build_tensors(copies)
        if changes is None:
            changes = {name for name, tensor in after.items() if tensor._version != versions.get(name)}
        changed = [tensor for name, tensor in after.items() if name in changes]
        return [tensor.double() for tensor in (*returned, *changed) if not tensor.is_complex()]

    return run


def _runs_with_another(
    tensor: torch.Tensor, place: int, run: Callable[[], list[torch.Tensor]]
) -> Iterator[list[torch.Tensor]]:
    """Yield what the reference gives with other values of one element."""
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), tensor.shape))
    old = tensor[index].clone()
    try:
        for value in _other_values(tensor, old):
            tensor[index] = value
            try:
                result = run()
            except (ProblemError, RuntimeError, IndexError, ValueError):
                continue  # the value is outside of the reference's domain
            yield result
    finally:
        tensor[index] = old


def _other_values(tensor: torch.Tensor, old: torch.Tensor) -> list[torch.Tensor]:
    if tensor.is_floating_point():
        finite = tensor[tensor.isfinite()]
        far = 1e4 * (float(finite.abs().max()) + 1.0) if finite.numel() else 1e4
        return [old * 0 + far, old * 0 - far, old * 0.5 + 0.25] if bool(old.isfinite()) else [torch.zeros_like(old)]
    if tensor.dtype is torch.bool:
        return [~old]
    others = tensor.unique()
    return [other for other in (others[0], others[-1], others[len(others) // 2]) if bool(other != old)]


def _places(tensor: torch.Tensor, probes: int) -> list[int]:
    """Return the places of the elements to change, in a random order that is always the same."""
    size = tensor.numel()
    generator = torch.Generator().manual_seed(size)
    return list(dict.fromkeys(torch.randint(0, max(size, 1), (min(probes, size),), generator=generator).tolist()))


def _varying_shares(draws: list[tuple[Any, ...]]) -> dict[str, float]:
    """Return the share of each input's elements that differ in another draw, where draws can be compared."""
    first, *others = [build_tensors(draw) for draw in draws]
    shares = {}
    for name, tensor in first.items():
        again = [other[name] for other in others if name in other and other[name].shape == tensor.shape]
        if len(again) < len(others) or not tensor.numel():
            continue
        varies = torch.zeros(tensor.shape, dtype=torch.bool)
        for other in again:
            varies |= tensor != other
        share = float(varies.double().mean())
        shares[name] = 1.0 if share > FEW_VALUES else share
    return shares


def _own_share(name: str, draws: list[tuple[Any, ...]]) -> float:
    """Return the share of the varying elements that are no copies of others in every draw, e.g. one of equal halves."""
    found = [build_tensors(draw).get(name) for draw in draws]
    tensors = [tensor.flatten() for tensor in found if tensor is not None and tensor.is_floating_point()]
    if len(tensors) < len(draws) or len({tensor.numel() for tensor in tensors}) > 1 or not tensors[0].numel():
        return 1.0
    size = tensors[0].numel()
    if math.prod(tensor.unique().numel() for tensor in tensors) < CHANCE * size * size:
        return 1.0  # of few values, some meet by chance
    values = torch.stack([tensor.double() for tensor in tensors])
    values = values[:, (values != values[0]).any(0)]
    share = values.unique(dim=1).shape[1] / max(values.shape[1], 1)
    return 1.0 if share > FEW_VALUES else share


def _at_least(hits: int, probes: int) -> float:
    """Return the least share of elements that matter: 1 where all did, else the lower end of Wilson's interval."""
    if hits == probes:
        return 1.0
    share, z = hits / probes, 1.96
    centre = share + z * z / (2 * probes)
    spread = z * math.sqrt(share * (1 - share) / probes + z * z / (4 * probes * probes))
    return max((centre - spread) / (1 + z * z / probes), 0.0)


def _differ(first: list[torch.Tensor], now: list[torch.Tensor], visible: float) -> bool:
    if [tensor.shape for tensor in first] != [tensor.shape for tensor in now]:
        return True
    return any(_changed(old, new, visible) for old, new in zip(first, now, strict=True))


def _changed(old: torch.Tensor, new: torch.Tensor, visible: float) -> bool:
    both = old.isfinite() & new.isfinite()
    if not torch.equal(old[~both].nan_to_num(), new[~both].nan_to_num()):
        return True
    if not bool(both.any()):
        return False
    largest = float(old[both].abs().max())
    return float((old[both] - new[both]).abs().max()) > visible * max(largest, ROUNDING)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from starting threads, which a process that forks later would lose."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
