"""Choose the k most probable experts of each token and normalise their probabilities.

{kind: top-k, style: repeated argmax in a static loop, dtype: float32, small: [{tokens: 9, experts: 20}, {tokens: 7, experts: 37}]}
"""
tokens, experts = 16384, 64
k = 4


def inputs():
    return [torch.randn(tokens, experts)]


def reference(logits):
    values, places = torch.sort(logits, dim=-1, descending=True, stable=True)
    return torch.softmax(values[:, :k], -1), places[:, :k].contiguous()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def gating(x_ptr, weight_ptr, place_ptr, experts, K: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + token * experts + col, mask=col < experts, other=float("-inf"))
    top = tl.max(x, axis=0)
    total = 0.0
    rest = x
    for i in tl.static_range(K):
        place = tl.argmax(rest, axis=0)
        total += tl.exp(tl.max(rest, axis=0) - top)
        rest = tl.where(col == place, float("-inf"), rest)
    rest = x
    for i in tl.static_range(K):
        place = tl.argmax(rest, axis=0)
        tl.store(weight_ptr + token * K + i, tl.exp(tl.max(rest, axis=0) - top) / total)
        tl.store(place_ptr + token * K + i, place.to(tl.int64))
        rest = tl.where(col == place, float("-inf"), rest)


def kernel_function(logits, k):
    tokens, experts = logits.shape
    weights = torch.empty((tokens, k), dtype=logits.dtype, device=logits.device)
    places = torch.empty((tokens, k), dtype=torch.int64, device=logits.device)
    gating[(tokens,)](logits, weights, places, experts, K=k, BLOCK=triton.next_power_of_2(experts))
    return weights, places
