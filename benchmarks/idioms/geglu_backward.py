"""Return the gradients of a gated GELU (tanh) with respect to gate and value.

{kind: activation backward, style: two outputs of one kernel, dtype: float32, small: [{rows: 5, cols: 136}, {rows: 3, cols: 501}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols), torch.randn(rows, cols)]


def reference(grad, gate, value):
    k = math.sqrt(2 / math.pi)
    t = torch.tanh(k * (gate + 0.044715 * gate**3))
    slope = 0.5 * (1 + t) + 0.5 * gate * (1 - t * t) * k * (1 + 3 * 0.044715 * gate * gate)
    return grad * value * slope, grad * 0.5 * gate * (1 + t)


# --- kernel ---
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def backward_kernel(grad_ptr, gate_ptr, value_ptr, dgate_ptr, dvalue_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = at < n
    grad = tl.load(grad_ptr + at, mask=ok, other=0.0)
    g = tl.load(gate_ptr + at, mask=ok, other=0.0)
    v = tl.load(value_ptr + at, mask=ok, other=0.0)
    K: tl.constexpr = 0.7978845608028654
    t = libdevice.tanh(K * (g + 0.044715 * g * g * g))
    half = 0.5 * (1 + t)
    slope = half + 0.5 * g * (1 - t * t) * K * (1 + 0.134145 * g * g)
    tl.store(dgate_ptr + at, grad * v * slope, mask=ok)
    tl.store(dvalue_ptr + at, grad * g * half, mask=ok)


def kernel_function(grad, gate, value):
    dgate, dvalue = torch.empty_like(gate), torch.empty_like(value)
    n = gate.numel()
    backward_kernel[(triton.cdiv(n, 512),)](grad, gate, value, dgate, dvalue, n, BLOCK=512, num_warps=4)
    return dgate, dvalue
