"""Take one step of Adam: parameter and both moments change in place, nothing is returned.

{kind: optimiser, style: in place without an output, dtype: float32, mutates: [p, m, v], inputs: {v: {range: [0, 4]}}, small: [{n: 700}, {n: 2051}]}
"""
n = 1 << 21


def inputs():
    return [torch.randn(n), torch.randn(n), torch.randn(n) * 0.1, torch.rand(n)]


def reference(p, grad, m, v):
    m.mul_(0.9).add_(grad, alpha=0.1)
    v.mul_(0.99).addcmul_(grad, grad, value=0.01)
    p.sub_(0.01 * m / (v.sqrt() + 1e-6))


# --- kernel ---
import triton
import triton.language as tl


@triton.jit
def adam(p_ptr, g_ptr, m_ptr, v_ptr, lr, beta1, beta2, rest1, rest2, eps, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = at < n
    p = tl.load(p_ptr + at, mask=ok)
    g = tl.load(g_ptr + at, mask=ok)
    m = tl.load(m_ptr + at, mask=ok)
    v = tl.load(v_ptr + at, mask=ok)
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * g * g
    p -= lr * m / (tl.sqrt(v) + eps)
    tl.store(p_ptr + at, p, mask=ok)
    tl.store(m_ptr + at, m, mask=ok)
    tl.store(v_ptr + at, v, mask=ok)


def kernel_function(p, grad, m, v):
    adam[(triton.cdiv(p.numel(), 512),)](p, grad, m, v, 0.01, 0.9, 0.99, 1 - 0.9, 1 - 0.99, 1e-6, p.numel(), BLOCK=512)
