"""Emulated float32 arithmetic has at least the error of a kernel that adds one element after the other."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kopt.device.expected.emulation import Float32Arithmetic
from kopt.device.expected.rounding import add_exactly
from kopt.device.expected.tolerance import EMULATED_FACTOR

torch.set_num_threads(1)  # other tests fork this process


def added(values: torch.Tensor) -> torch.Tensor:
    """Add along the last dimension, one element after the other."""
    return torch.from_numpy(np.cumsum(values.numpy(), axis=-1, dtype=np.float32)[..., -1].copy())


def variance(x: torch.Tensor) -> torch.Tensor:
    return (added(x.square()) - added(x).square() / x.shape[1]) / (x.shape[1] - 1)


def each(loss: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x, y: added(loss(x, y.sigmoid(), reduction="none").flatten())


WAYS = {
    "sum": (lambda x, y: x.sum(1), lambda x, y: added(x)),
    "dot": (lambda x, y: torch.dot(x[0], y[0]), lambda x, y: added(x[0] * y[0])),
    "mv": (lambda x, y: x @ y[0], lambda x, y: added(x * y[0])),
    "mm": (lambda x, y: x @ y.T, lambda x, y: added(x[:, None] * y)),
    "norm": (lambda x, y: x.norm(), lambda x, y: added(x.flatten().square()).sqrt()),
    "norm of rows": (lambda x, y: x.norm(dim=1), lambda x, y: added(x.square()).sqrt()),
    "var": (lambda x, y: x.var(1), lambda x, y: variance(x)),
    "std": (lambda x, y: torch.std_mean(x, 1)[0], lambda x, y: variance(x).sqrt()),
    "mse": (lambda x, y: F.mse_loss(x, y.sigmoid()), lambda x, y: each(F.mse_loss)(x, y) / 12000),
    "huber": (
        lambda x, y: F.huber_loss(x, y.sigmoid(), reduction="sum", delta=2.0),
        each(lambda x, y, reduction: F.huber_loss(x, y, reduction, 2.0)),
    ),
    "smooth l1": (lambda x, y: F.smooth_l1_loss(x, y.sigmoid()), lambda x, y: each(F.smooth_l1_loss)(x, y) / 12000),
    "bce": (
        lambda x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid()),
        lambda x, y: each(F.binary_cross_entropy_with_logits)(x, y) / 12000,
    ),
    "nll": (
        lambda x, y: F.nll_loss(x, torch.arange(4)), lambda x, y: -added(x[torch.arange(4), torch.arange(4)]) / 4
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("scale", [1.0, -240.0])
def test_a_sum_of_one_element_after_the_other_is_right(name, scale):
    eager, one_by_one = WAYS[name]
    torch.manual_seed(7)
    x, y = scale * (torch.rand(4, 3000) + 0.5), torch.randn(4, 3000).abs()
    exact = eager(x.double(), y.double())
    with Float32Arithmetic():
        emulated = eager(x, y)
    assert emulated.shape == exact.shape
    error = (one_by_one(x, y).double() - exact).abs()
    allowed = EMULATED_FACTOR * (emulated.double() - exact).abs() + exact.abs() * 2.0**-23
    assert bool((error <= allowed).all())
    assert bool((allowed <= 1e-3 * exact.abs()).all())


def normalised_one_by_one(rows: np.ndarray) -> np.ndarray:
    """Normalise rows in float32, with sums to which one element is added after the other."""
    length = np.float32(rows.shape[-1])
    apart = rows - np.cumsum(rows, axis=-1, dtype=np.float32)[..., -1:] / length
    variance = np.cumsum(apart * apart, axis=-1, dtype=np.float32)[..., -1:] / length
    return apart / np.sqrt(variance + np.float32(1e-5))


NORMALISATIONS = {
    "layer": (torch.nn.LayerNorm(8192, elementwise_affine=False), (4, 8192)),
    "group": (torch.nn.GroupNorm(2, 4, affine=False), (4, 4, 4096)),
    "instance": (torch.nn.InstanceNorm1d(3), (2, 3, 8192)),
}


@pytest.mark.parametrize("kind", NORMALISATIONS)
@pytest.mark.parametrize("draw", ["normal", "integer", "equal"])
def test_a_normalisation_with_sums_of_one_element_after_the_other_is_within_its_emulated_error(kind, draw):
    norm, shape = NORMALISATIONS[kind]
    numbers = torch.Generator().manual_seed(0)
    x = {
        "normal": torch.randn(shape, generator=numbers) + 1,
        "integer": torch.randint(0, 5, shape, generator=numbers).float(),
        "equal": torch.randn(shape[0], *[1] * (len(shape) - 1), generator=numbers).expand(shape).contiguous(),
    }[draw]
    rows = {"layer": x, "group": x.reshape(4, 2, -1), "instance": x}[kind]
    right = torch.from_numpy(normalised_one_by_one(rows.numpy())).reshape(shape)
    exact = norm(x.double())
    with Float32Arithmetic():
        emulated = norm(x)
    assert (right - exact).abs().max() <= EMULATED_FACTOR * (emulated - exact).abs().max() + 16 * 2.0**-24


@pytest.mark.parametrize("way", ["sum", "mv", "mm"])
def test_a_sum_that_every_order_gives_exactly_has_no_error(way):
    eager, _ = WAYS[way]
    numbers = torch.Generator().manual_seed(0)
    x, y = torch.randint(-8, 9, (2, 4, 3000), generator=numbers).float()
    with Float32Arithmetic():
        assert torch.equal(eager(x, y).double(), eager(x.double(), y.double()))


@pytest.mark.parametrize(
    ("row", "exact"),
    [
        ([1.0, 2.0, -3.0], True),
        ([0.5, 2.0**22, -(2.0**22)], True),
        ([0.5, 2.0**23, -(2.0**23)], False),
        ([0.1, 0.2], False),
        ([0.0, 0.0], True),
        ([0.1, 0.0], True),
        ([2.0**-100, 2.0**-99], True),
        ([1.0, torch.inf], False),
    ],
)
def test_rows_that_add_up_exactly(row, exact):
    assert bool(add_exactly(torch.tensor([row]).double())) == exact
