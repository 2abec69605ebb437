import torch
import triton
import triton.language as tl


@triton.jit
def column_sums(x_ptr, part_ptr, count_ptr, y_ptr, M, N, PROGRAMS, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    total = tl.zeros((BLOCK,), tl.float32)
    for row in range(program, M, PROGRAMS):
        total += tl.load(x_ptr + row.to(tl.int64) * N + at, mask=mask, other=0.0)
    tl.store(part_ptr + program * N + at, total, mask=mask)
    tl.debug_barrier()
    tl.atomic_add(count_ptr, 1)
    while tl.atomic_add(count_ptr, 0) < PROGRAMS:
        pass
    for block in range(program * 16, N, PROGRAMS * 16):
        column = block + tl.arange(0, 16)
        part = tl.zeros((16,), tl.float32)
        for other in range(PROGRAMS):
            part += tl.load(part_ptr + other * N + column, mask=column < N, other=0.0)
        tl.store(y_ptr + column, part, mask=column < N)


def kernel_function(x):
    M, N = x.shape
    programs = torch.cuda.get_device_properties(x.device).multi_processor_count
    parts = torch.empty((programs, N), dtype=torch.float32, device=x.device)
    count = torch.zeros((1,), dtype=torch.int32, device=x.device)
    y = torch.empty((N,), dtype=x.dtype, device=x.device)
    column_sums[(programs,)](x, parts, count, y, M, N, programs, BLOCK=triton.next_power_of_2(N))
    return y
