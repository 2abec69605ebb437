"""Rotate halves of each head of queries and keys in place.

{kind: rotary embedding, style: in place with heads of a token in one tile, dtype: bfloat16, mutates: [q, k], inputs: {cos: {range: [-1, 1]}, sin: {range: [-1, 1]}}, small: [{T: 5, H: 3, G: 1, D: 16}, {T: 7, H: 4, G: 2, D: 24}]}
"""
T, H, G, D = 1024, 16, 4, 128


def inputs():
    angle = torch.randn(T, D // 2)
    return [torch.randn(T, H, D), torch.randn(T, G, D), torch.cos(angle), torch.sin(angle)]


def reference(q, k, cos, sin):
    wide = torch.promote_types(q.dtype, torch.float32)
    cos, sin = cos[:, None].to(wide), sin[:, None].to(wide)
    for x in (q, k):
        a, b = x.to(wide).chunk(2, -1)
        x.copy_(torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype))
    return q, k


# --- kernel ---
import triton
import triton.language as tl


@triton.jit
def rotate(x_ptr, cos, sin, heads, half, HEADS: tl.constexpr, HALF: tl.constexpr):
    head = tl.arange(0, HEADS)[:, None]
    d = tl.arange(0, HALF)[None, :]
    mask = (head < heads) & (d < half)
    at = head * 2 * half + d
    a = tl.load(x_ptr + at, mask=mask, other=0).to(tl.float32)
    b = tl.load(x_ptr + at + half, mask=mask, other=0).to(tl.float32)
    tl.store(x_ptr + at, a * cos - b * sin, mask=mask)
    tl.store(x_ptr + at + half, b * cos + a * sin, mask=mask)


@triton.jit
def rope(q_ptr, k_ptr, cos_ptr, sin_ptr, H, G, half, HP: tl.constexpr, GP: tl.constexpr, HALF: tl.constexpr):
    t = tl.program_id(0)
    d = tl.arange(0, HALF)
    cos = tl.load(cos_ptr + t * half + d, mask=d < half, other=0).to(tl.float32)[None, :]
    sin = tl.load(sin_ptr + t * half + d, mask=d < half, other=0).to(tl.float32)[None, :]
    rotate(q_ptr + t * H * 2 * half, cos, sin, H, half, HP, HALF)
    rotate(k_ptr + t * G * 2 * half, cos, sin, G, half, GP, HALF)


def kernel_function(q, k, cos, sin):
    T, H, D = q.shape
    G, power = k.shape[1], triton.next_power_of_2
    rope[(T,)](q, k, cos, sin, H, G, D // 2, HP=power(H), GP=power(G), HALF=power(D // 2))
    return q, k
