import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def capped(x_ptr, y_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * N + at, mask=at < N, other=-float("inf"))
    x = 30.0 * libdevice.tanh(x / 30.0)
    most = tl.max(x)
    tl.store(y_ptr + row, most + tl.log(tl.sum(tl.exp(x - most))))


def kernel_function(x):
    y = x.new_empty(x.shape[0])
    capped[(x.shape[0],)](x, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
