"""Attention that a reference writes out is recognised, whatever functions and orders of dimensions it uses."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kopt.seed.operations.written_attention import WrittenAttention

MINUS = float("-inf")
ROWS, KEYS, HEAD = 5, 7, 16


def attention(query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float | None) -> torch.Tensor:
    """Compute what the template computes: scores and sums in float32."""
    assert query.dim() == key.dim() == value.dim() == 4
    assert not causal
    scores = query.float() @ key.float().transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        assert mask.shape == scores.shape
        scores = scores.masked_fill(~mask, MINUS) if mask.dtype is torch.bool else scores + mask.float()
    return (torch.softmax(scores, -1) @ value.float()).to(query.dtype)


class Recognised(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.written = WrittenAttention(self.called, 128)
        self.calls = 0

    def called(self, *args: Any) -> torch.Tensor:
        self.calls += 1
        return attention(*args)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.written.call(func, args, kwargs or {})


Reference = Callable[..., torch.Tensor]


def softmaxed(scores: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores.float(), -1).to(torch.bfloat16)


def in_place_scores(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
    scores = q @ k.mT
    weights = torch.softmax(scores, -1)
    weights[..., 0] = 0.5
    return weights @ v


def changed_key(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
    key = k.clone()
    weights = torch.softmax(q @ key.mT, -1)
    key.mul_(3)
    return weights @ v


def changed_mask(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor, **_: Any) -> torch.Tensor:
    mask = ~seen
    scores = (q @ k.mT).masked_fill(mask, MINUS)
    mask.fill_(True)
    return torch.softmax(scores, -1) @ v


WRITTEN: dict[str, Reference] = {
    "plain": lambda q, k, v, **_: torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v,
    "matmul": lambda q, k, v, **_: torch.matmul(functional.softmax(torch.matmul(q, k.mT) / 4, dim=3), v),
    "scaled": lambda q, k, v, **_: softmaxed(0.5 * (q @ k.mT) / math.sqrt(HEAD)) @ v,
    "scaled before": lambda q, k, v, **_: ((q * 0.25) @ k.mT).softmax(-1) @ v,
    "added": lambda q, k, v, added, **_: softmaxed(q @ k.mT * 0.3 + added) @ v,
    "added before": lambda q, k, v, added, **_: softmaxed(added + q @ k.mT * 0.3) @ v,
    "of one row": lambda q, k, v, added, **_: softmaxed(q @ k.mT + added[:1]) @ v,
    "filled": lambda q, k, v, seen, **_: softmaxed((q @ k.mT).masked_fill(~seen, MINUS)) @ v,
    "filled twice": lambda q, k, v, seen, **_: softmaxed(
        (q @ k.mT).masked_fill(~seen, MINUS).masked_fill(~seen.roll(1, 0), MINUS)
    ) @ v,
    "filled with little": lambda q, k, v, seen, **_: softmaxed((q @ k.mT).masked_fill(~seen, -1e9)) @ v,
    "chosen": lambda q, k, v, seen, **_: softmaxed(torch.where(seen, q @ k.mT, MINUS)) @ v,
    "chosen otherwise": lambda q, k, v, seen, **_: softmaxed(torch.where(~seen, MINUS, q @ k.mT)) @ v,
    "idle dropout": lambda q, k, v, **_: functional.dropout(softmaxed(q @ k.mT), 0.5, False) @ v,
    "three dimensions": lambda q, k, v, seen, **_: torch.bmm(
        softmaxed(torch.bmm(q[0], k[0].mT).masked_fill(~seen, MINUS)), v[0]
    ),
    "a mask for each of three": lambda q, k, v, added, **_: softmaxed(q[0] @ k[0].mT + added.expand(3, -1, -1)) @ v[0],
    "a mask for each head": lambda q, k, v, added, **_: softmaxed(q @ k.mT + added.expand(3, -1, -1)) @ v,
    "einsum": lambda q, k, v, **_: torch.einsum("bhij,bhjd->bhid", softmaxed(torch.einsum("bhid,bhjd->bhij", q, k)), v),
    "einsum, heads last": lambda q, k, v, **_: torch.einsum(
        "bhqk,bkhd->bqhd", softmaxed(torch.einsum("bqhd,bkhd->bhqk", q.transpose(1, 2), k.transpose(1, 2)) * 0.25),
        v.transpose(1, 2),
    ),
    "einsum of a list": lambda q, k, v, **_: torch.einsum(
        "bhqk,bhkd->hbqd", [softmaxed(torch.einsum("bhqd,bhkd->bhqk", [q, k])), v]
    ),
}  # fmt: skip
"""References of which the template computes all that follows from query, key and value."""

OTHER: dict[str, Reference] = {
    "float32": lambda q, k, v, **_: torch.softmax(q.float() @ k.float().mT, -1) @ v.float(),
    "along rows": lambda q, k, v, **_: torch.softmax(q @ k.mT, dim=-2) @ v,
    "scaled behind the mask": lambda q, k, v, added, **_: softmaxed((q @ k.mT + added) * 0.5) @ v,
    "divided by": lambda q, k, v, **_: softmaxed(1.0 / (q @ k.mT + 30)) @ v,
    "a filled number": lambda q, k, v, seen, **_: softmaxed((q @ k.mT).masked_fill(~seen, 0.5)) @ v,
    "two masks": lambda q, k, v, seen, added: softmaxed((q @ k.mT + added).masked_fill(~seen, MINUS)) @ v,
    "scaled weights": lambda q, k, v, **_: (softmaxed(q @ k.mT) * 2) @ v,
    "dropout": lambda q, k, v, **_: functional.dropout(softmaxed(q @ k.mT), 1.0, True) @ v,
    "another head": lambda q, k, v, **_: softmaxed(q @ k.mT) @ v[..., :8],
    "weights in 8 bits": lambda q, k, v, **_: softmaxed(q @ k.mT).to(torch.float8_e4m3fn).to(torch.bfloat16) @ v,
    "changed weights": in_place_scores,
    "changed key": changed_key,
    "changed mask": changed_mask,
    "weights on the right": lambda q, k, v, **_: v.mT @ softmaxed(q @ k.mT).mT,
    "einsum of other sums": lambda q, k, v, **_: torch.einsum("bhqk,bhkd->bhd", softmaxed(q @ k.mT), v),
    "one query": lambda q, k, v, **_: softmaxed(q[:, :, 0] @ k[0, 0].mT) @ v[0, 0],
}


def results(reference: Reference) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return what a reference computes, the same recognised, and how often the template was called."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, HEAD).bfloat16() for n in (ROWS, KEYS, KEYS))
    seen = torch.rand(ROWS, KEYS) > 0.3
    seen[:, 2] = True
    further = {"seen": seen, "added": torch.randn(ROWS, KEYS).bfloat16()}
    plain = reference(q, k, v, **further)
    with Recognised() as mode:
        made = reference(q, k, v, **further)
    return plain, made, mode.calls


@pytest.mark.parametrize("form", WRITTEN)
def test_written_attention_is_the_templates(form: str) -> None:
    plain, made, calls = results(WRITTEN[form])
    assert calls == 1
    torch.testing.assert_close(made, plain, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("form", OTHER)
def test_what_the_template_does_not_compute_stays_as_it_is(form: str) -> None:
    plain, made, calls = results(OTHER[form])
    assert calls == 0
    assert torch.equal(made, plain)
