"""Scan a linear recurrence in parallel along every row.

{kind: parallel recurrence, style: associative scan of pairs, dtype: float32, inputs: {a: {range: [0, 1]}}, small: [{rows: 5, T: 30}, {rows: 7, T: 61}]}
"""
rows, T = 8192, 256


def inputs():
    return [torch.rand(rows, T), torch.randn(rows, T)]


def reference(a, b):
    h = torch.zeros_like(b[:, 0])
    states = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def combine(a_left, b_left, a_right, b_right):
    return a_left * a_right, a_right * b_left + b_right


@triton.jit
def scan(a_ptr, b_ptr, h_ptr, rows, T, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    t = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (t < T)
    a = tl.load(a_ptr + row * T + t, mask=mask, other=1.0)
    b = tl.load(b_ptr + row * T + t, mask=mask, other=0.0)
    _, h = tl.associative_scan((a, b), 1, combine)
    tl.store(h_ptr + row * T + t, h, mask=mask)


def kernel_function(a, b):
    h = torch.empty_like(b)
    scan[(triton.cdiv(a.shape[0], 2),)](a, b, h, *a.shape, ROWS=2, BLOCK=triton.next_power_of_2(a.shape[1]))
    return h
