"""Complex numbers inside of a graph become pairs of real ones, which compute the same."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from kopt.errors import SeedError
from kopt.seed.operations.complex_pairs import AsPairs, has_complex_numbers

Function = Callable[[torch.Tensor, torch.Tensor], object]


def rotary(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    angles = torch.outer(torch.arange(5.0), y[0, :3, 0])
    turns = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-2], 3, 2))
    return torch.view_as_real(pairs * turns.view(5, 3)).flatten(2).type_as(x)


def c(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x)


def r(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(x.resolve_conj())


FUNCTIONS: dict[str, Function] = {
    "rotary": rotary,
    "product": lambda x, y: r(c(x) * c(y)),
    "product with a real tensor": lambda x, y: r(c(x) * y[..., 0] * 2.0),
    "product with a complex number": lambda x, y: r((1 + 2j) * c(x)),
    "sum and difference": lambda x, y: r(c(x) + y[..., 0] - c(y)),
    "sum with a factor": lambda x, y: r(torch.add(torch.sub(c(x), y[..., 1], alpha=2), c(y), alpha=3)),
    "sum with a complex number": lambda x, y: r(3j + c(x) - 1.5),
    "difference from a number": lambda x, y: r(2.0 - c(x)),
    "sum of other shapes": lambda x, y: r((c(x)[:, :1] + y[..., 0]).sum(1)),
    "product with an imaginary number": lambda x, y: r(x[..., 0] * 2j + c(y)[:1]),
    "made of parts of other shapes": lambda x, y: r(torch.complex(x[:, :1, :, 0], y[..., 1])[2]),
    "chosen by more truth values": lambda x, y: r(torch.where(y[..., 0] > 0, c(x)[:1], 2.0)[3]),
    "a turn": lambda x, y: r(torch.exp(1j * y[..., 0]) * c(x)),
    "summed in another type": lambda x, y: r(c(x).sum(0, dtype=torch.complex128)),
    "quotient": lambda x, y: r(c(x) / c(y)),
    "quotient by a real tensor": lambda x, y: r(c(x) / y[..., 1]),
    "quotient of a real tensor": lambda x, y: r(y[..., 1] / c(x)),
    "reciprocal": lambda x, y: r(1 / c(x)),
    "negative": lambda x, y: r(-c(x)),
    "conjugate": lambda x, y: r(c(x) * c(y).conj()),
    "size and angle": lambda x, y: (c(x).abs(), torch.angle(c(y))),
    "parts": lambda x, y: c(x).real * c(y).imag,
    "made of parts": lambda x, y: r(torch.complex(x[..., 0], y[..., 1]) * c(y)),
    "of a size and an angle": lambda x, y: r(torch.polar(x[..., 0].abs(), y[..., 1])),
    "exponential": lambda x, y: r(torch.exp(c(x) * 1j)),
    "square": lambda x, y: r(c(x) ** 2),
    "matrix product": lambda x, y: r(c(x) @ c(y).transpose(-1, -2)),
    "of one with real numbers": lambda x, y: r(c(x)[0] @ y[0, :, 1:].expand(-1, 4).to(torch.complex64)),
    "moved": lambda x, y: r(c(x).transpose(0, 1).reshape(-1, 4).permute(1, 0)[None].expand(2, -1, -1)),
    "chosen": lambda x, y: r(c(x)[:, 1:][..., [0, 2]].flip(0)),
    "chosen by truth values": lambda x, y: r(torch.where(y[..., 0] > 0, c(x), 2.0)),
    "filled": lambda x, y: r(torch.zeros(4, dtype=torch.complex64) + c(x) * torch.full((4,), 2j)),
    "joined": lambda x, y: r(torch.cat([c(x), y[..., 0]], dim=1)),
    "split": lambda x, y: r(torch.stack(c(x).split([1, 4], dim=1)[1].chunk(2, dim=-1)).sum(0)),
    "summed": lambda x, y: (r(c(x).sum(1)), r(c(y).mean(-1, keepdim=True)), r(torch.cumsum(c(x), 1))),
    "converted": lambda x, y: r(c(x).to(torch.complex128) * y[..., 0]) + r(x[..., 0].to(torch.complex64)),
    "its real part alone": lambda x, y: c(x).to(torch.float64) * 2,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_pairs_compute_what_complex_numbers_do(name: str) -> None:
    torch.manual_seed(0)
    function = FUNCTIONS[name]
    x, y = torch.randn(4, 5, 4, 2), torch.randn(4, 5, 4, 2)
    if name == "rotary":
        x, y = torch.randn(2, 5, 3, 2), torch.randn(1, 3, 1)
    if name.startswith("of one"):
        x, y = torch.randn(1, 3, 5, 2), torch.randn(1, 5, 2)
    graph = make_fx(torch.func.functionalize(function))(x, y)
    assert has_complex_numbers(graph)
    real = make_fx(AsPairs(graph).run)(x, y)
    assert not has_complex_numbers(real)
    torch.testing.assert_close(real(x, y), function(x, y), rtol=1e-5, atol=1e-5)


OTHER: dict[str, Function] = {
    "a complex output": lambda x, y: c(x) * 2,
    "steps through memory": lambda x, y: r(c(x).as_strided((2, 2), (1, 3))),
    "sine": lambda x, y: r(torch.sin(c(x))),
    "cubes": lambda x, y: r(c(x) ** 3),
    "a power of a number": lambda x, y: r(2.0 ** c(x)),
    "a Fourier transform": lambda x, y: r(torch.fft.rfft(x[..., 0]) * 2),
    "a complex constant": lambda x, y: r(torch.tensor([1j, 2j, 3j, 4j]) + c(x)),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_has_no_rule_is_said(name: str) -> None:
    x, y = torch.randn(4, 5, 4, 2), torch.randn(4, 5, 4, 2)
    graph = make_fx(torch.func.functionalize(OTHER[name]))(x, y)
    with pytest.raises(SeedError, match=r"and kopt no rule| is complex: "):
        make_fx(AsPairs(graph).run)(x, y)


def test_graphs_of_real_numbers_are_left_as_they_are() -> None:
    assert not has_complex_numbers(make_fx(lambda x: math.pi * x)(torch.ones(2)))
