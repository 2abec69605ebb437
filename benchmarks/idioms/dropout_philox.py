"""Drop elements by the Philox generator, counted from a seed that is an input.

{kind: dropout with seed, style: tl.rand, dtype: float32, inputs: {seed: as_given}, small: [{n: 500}, {n: 1027}]}
"""
n = 1 << 20


def inputs():
    return [torch.randn(n), torch.randint(0, 1 << 31, (1,))]


def multiply(a, b):
    """Return the high and low 32 bits of the product of 32-bit integers held in int64."""
    low, high = (a & 0xFFFF) * b, (a >> 16) * b
    middle = high + (low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(seed, counter):
    c0, c1 = counter, torch.zeros_like(counter)
    c2, c3 = torch.zeros_like(counter), torch.zeros_like(counter)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        high_a, low_a = multiply(c0, 0xD2511F53)
        high_b, low_b = multiply(c2, 0xCD9E8D57)
        c0, c2 = high_b ^ c1 ^ k0, high_a ^ c3 ^ k1
        c1, c3 = low_b, low_a
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0


def reference(x, seed):
    bits = philox(seed, torch.arange(x.numel(), device=x.device))
    signed = torch.where(bits >= 1 << 31, bits - (1 << 32), bits)
    positive = torch.where(signed < 0, -signed - 1, signed)
    keep = positive.to(torch.float32) * 4.6566127342e-10 > 0.5
    return torch.where(keep, x * 2.0, 0.0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def seeded_dropout(x_ptr, y_ptr, n, p, seed_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask)
    random = tl.rand(tl.load(seed_ptr), at)
    tl.store(y_ptr + at, tl.where(random > p, x / (1 - p), 0.0), mask=mask)


def kernel_function(x, seed):
    y = torch.empty_like(x)
    seeded_dropout[(triton.cdiv(x.numel(), 128),)](x, y, x.numel(), 0.5, seed, BLOCK=128)
    return y
