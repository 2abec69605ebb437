"""Wrong and right kernels for a matrix-vector product, which the interpreter is to tell apart."""

from functools import partial

from kopt.model.verdict import Failed, Incorrect
from tests.device.sources import replaced, wrapped_in

AUTOTUNE = "@triton.autotune(configs=[triton.Config({}), triton.Config({}, num_warps=8)], key=['K'])\n@triton.jit"
HEADER = "import torch\nimport triton\nimport triton.language as tl\n\n"
SEED = (
    HEADER
    + """
@triton.jit
def matvec_kernel(a_ptr, b_ptr, y_ptr, K, stride_am, stride_bk, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_K,), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        mask = k + offsets < K
        a = tl.load(a_ptr + row * stride_am + k + offsets, mask=mask, other=0.0)
        b = tl.load(b_ptr + (k + offsets) * stride_bk, mask=mask, other=0.0)
        acc += a.to(tl.float32) * b.to(tl.float32)
    y = tl.sum(acc, axis=0)
    tl.store(y_ptr + row, y.to(y_ptr.dtype.element_ty))


def kernel_function(A, B):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    matvec_kernel[(M,)](A, B, y, K, A.stride(0), B.stride(0), BLOCK_K=1024, num_warps=4)
    return y
"""
)


changed, wrapped = partial(replaced, SEED), partial(wrapped_in, SEED)


NEVER_STORED = changed(("    tl.store(y_ptr + row,", "    if row < 0:\n        tl.store(y_ptr + row,"))

WRONG = {
    "out of bounds, a scalar and a block in one mask": (
        changed(("mask = k + offsets < K", "mask = (row >= 0) & (k + offsets < K + 8)")),
        Failed,
    ),
    "hang": (wrapped("def kernel_function(A, B):\n    while True: pass\n"), Failed),
    "constant": (changed(("y.to(y_ptr", "(y * 0 + 1).to(y_ptr")), Incorrect),
    "zeros": (changed(("y.to(y_ptr", "(y * 0).to(y_ptr")), Incorrect),
    "99 % of the work": (
        changed(("range(0, K, BLOCK_K)", "range(0, K - K // 100, BLOCK_K)"), ("< K\n", "< K - K // 100\n")),
        Incorrect,
    ),
    "mask removed": (changed((", mask=mask, other=0.0", "")), Failed),
    "last tile dropped": (changed(("range(0, K, BLOCK_K)", "range(0, K // BLOCK_K * BLOCK_K, BLOCK_K)")), Incorrect),
    "mask without other": (changed((", other=0.0", "")), Incorrect),
    "wrong stride": (changed(("a_ptr + row * stride_am", "a_ptr + row * (stride_am - 8)")), Incorrect),
    "nothing stored": (NEVER_STORED, Incorrect),
    "one row missing": (changed(("[(M,)]", "[(M - 1,)]")), Incorrect),
    "8-bit precision": (changed(("a.to(tl.float32) *", "a.to(tl.float8e4nv).to(tl.float32) *")), Incorrect),
    "result of torch": (wrapped("def kernel_function(A, B):\n    honest(A, B)\n    return A @ B\n"), Failed),
    "result of torch behind a kernel that copies": (
        wrapped("def kernel_function(A, B):\n    return honest(A @ B, torch.ones_like(B[:1]))\n"),
        Failed,
    ),
    "result of torch in pieces": (
        wrapped("""
def kernel_function(A, B):
    honest(A, B)
    y = torch.zeros((A.shape[0], 1))
    for row in range(A.shape[0]):
        for k in range(0, A.shape[1], 64):
            y[row] += A[row, k : k + 64].float() @ B[k : k + 64, 0].float()
    return y.to(A.dtype)
"""),
        Incorrect,
    ),
    "result of NumPy": (
        wrapped(
            "def kernel_function(A, B):\n    y = A.float().numpy() @ B.float().numpy()\n"
            "    return honest(torch.from_numpy(y).to(A.dtype), torch.ones_like(B[:1]))\n"
        ),
        Failed,
    ),
    "torch only": (wrapped("def kernel_function(A, B):\n    return A @ B\n"), Failed),
    "cached output": (
        wrapped("""
first = []
def kernel_function(A, B):
    first or first.append(honest(A, B))
    return first[0][:A.shape[0]]
"""),
        Failed,
    ),
    "stale output": (
        wrapped("""
first = []
def kernel_function(A, B):
    first.append(honest(A, B))
    return first[0][:A.shape[0]]
"""),
        Incorrect,
    ),
    "input written": (
        wrapped("def kernel_function(A, B):\n    y = honest(A, B)\n    A.zero_()\n    return y\n"),
        Failed,
    ),
    "wrong dtype": (changed(("dtype=A.dtype", "dtype=torch.float32")), Failed),
    "wrong shape": (changed(("return y", "return y.view(-1)")), Failed),
    "tuple": (changed(("return y", "return (y,)")), Failed),
    "subclass": (changed(("return y", "return torch.nn.Parameter(y, requires_grad=False)")), Failed),
    "nothing": (changed(("return y", "return None")), Failed),
    "NaN": (changed(("y.to(y_ptr", "(y * float('nan')).to(y_ptr")), Incorrect),
    "sys.exit": (wrapped("import sys\ndef kernel_function(A, B):\n    sys.exit(0)\n"), Failed),
    "os._exit": (wrapped("import os\ndef kernel_function(A, B):\n    os._exit(0)\n"), Failed),
    "exit at import": (SEED + "\nimport os\nos._exit(0)\n", Failed),
    "forged verdict": (
        wrapped(
            'import os\ndef kernel_function(A, B):\n    print(\'{"verdict": "passed"}\')\n'
            "    for descriptor in range(3, 64):\n        try: os.write(descriptor, b'passed')\n"
            "        except OSError: pass\n    os._exit(0)\n"
        ),
        Failed,
    ),
    "raises": (wrapped("def kernel_function(A, B):\n    raise RuntimeError('no luck')\n"), Failed),
    "no entry": (SEED.replace("def kernel_function(", "def other("), Failed),
    "out of bounds": (changed(("tl.store(y_ptr + row,", "tl.store(y_ptr + row + 1,")), Failed),
    "inline assembly that reads memory": (
        changed(
            (
                "    tl.store(y_ptr",
                "    y = tl.inline_asm_elementwise('ld.global.f32 $0, [$1];', '=r,l', [y_ptr], tl.float32, "
                "is_pure=True, pack=1)\n    tl.store(y_ptr",
            )
        ),
        Failed,
    ),
    "an address as a number": (
        changed(("def matvec_kernel(a_ptr,", "def matvec_kernel(place, a_ptr,"), ("](A,", "](A.data_ptr(), A,")),
        Failed,
    ),
    "a race beside an atomic": (
        changed(
            ("def matvec_kernel(a_ptr,", "def matvec_kernel(w_ptr, a_ptr,"),
            (
                "    y = tl.sum(acc, axis=0)\n",
                "    tl.atomic_add(w_ptr, 0.0)\n    y = tl.sum(acc, axis=0)\n    tl.store(w_ptr + 1 + row // 2, y)\n",
            ),
            ("](A,", "](torch.zeros(M + 1, dtype=torch.float32, device=A.device), A,"),
        ),
        Failed,
    ),
    "a persistent loop that never goes on": (
        changed(
            ("K, stride_am,", "M, K, stride_am,"),
            (
                "    row = tl.program_id(0).to(tl.int64)\n",
                "    first = tl.program_id(0).to(tl.int64)\n    row = first\n",
            ),
            (
                "    tl.store(y_ptr + row, y.to(y_ptr.dtype.element_ty))",
                "    for row in range(first, M, tl.num_programs(0)):\n"
                "        tl.store(y_ptr + row, y.to(y_ptr.dtype.element_ty))",
            ),
            ("y, K, A.stride", "y, M, K, A.stride"),
            ("[(M,)]", "[(min(M, 2 * torch.cuda.get_device_properties(0).multi_processor_count),)]"),
        ),
        Incorrect,
    ),
    "counts multiprocessors when it is imported": (
        wrapped(
            "COUNT = torch.cuda.get_device_properties(0).multi_processor_count\n"
            "def kernel_function(A, B):\n    return honest(A, B if COUNT < 100 else torch.ones_like(B))\n"
        ),
        Incorrect,
    ),
    "knows the interpreter": (
        wrapped(
            "def kernel_function(A, B):\n    here = triton.knobs.runtime.interpret\n"
            "    here |= not isinstance(matvec_kernel, triton.runtime.jit.JITFunction)\n"
            "    return honest(A, B if here else torch.ones_like(B))\n"
        ),
        Incorrect,
    ),
    "one bad configuration": (
        changed(
            ("@triton.jit", AUTOTUNE.format("{'BLOCK_K': 1024, 'SKIP': 0}", "{'BLOCK_K': 2048, 'SKIP': 1}")),
            ("BLOCK_K: tl.constexpr):", "BLOCK_K: tl.constexpr, SKIP: tl.constexpr):"),
            ("range(0, K, BLOCK_K)", "range(0, K - SKIP * BLOCK_K, BLOCK_K)"),
            (", BLOCK_K=1024, num_warps=4", ""),
        ),
        Incorrect,
    ),
}

RIGHT = {
    "inline assembly": changed(
        (
            "    tl.store(y_ptr",
            "    y = tl.inline_asm_elementwise('mov.b32 $0, $1;', '=r,r', [y], tl.float32, is_pure=True, pack=1)\n"
            "    tl.store(y_ptr",
        )
    ),
    "asks a compiled kernel": changed(
        (
            "    matvec_kernel[(M,)]",
            "    made = matvec_kernel.warmup(A, B, y, K, A.stride(0), B.stride(0), BLOCK_K=1024, grid=(M,))\n"
            "    assert made.metadata.shared >= 0 and made.n_regs > 0 and made.asm['ptx']\n    matvec_kernel[(M,)]",
        )
    ),
    "in inference mode": wrapped(
        "def kernel_function(A, B):\n    with torch.inference_mode():\n        y = torch.zeros_like(A[:, :1])\n"
        "        y.copy_(honest(A, B))\n        return y\n"
    ),
    "a scalar comparison of floats and a block in one condition": changed(
        (
            "        acc += a.to",
            "        mask = (tl.max(a, 0).to(tl.float32) > -float('inf')) & mask\n        acc += a.to",
        ),
    ),
    "a scalar and a block in one mask": changed(
        ("mask = k + offsets < K", "mask = (row >= 0) & (k + offsets < K)"),
    ),
    "the same value stored and loaded by several programs": changed(
        ("def matvec_kernel(a_ptr,", "def matvec_kernel(w_ptr, a_ptr,"),
        ("    row = tl.program_id(0).to(tl.int64)\n", "    row = (tl.program_id(0) // 2).to(tl.int64)\n"),
        (
            "    tl.store(y_ptr + row, y.",
            "    tl.store(w_ptr + row, y)\n    y = tl.load(w_ptr + row)\n    tl.store(y_ptr + row, y.",
        ),
        ("[(M,)](A,", "[(2 * M,)](torch.empty(M, dtype=torch.float32, device=A.device), A,"),
    ),
    "device by name": changed(("device=A.device", "device='cuda'")),
    "asks the device": changed(
        (
            "    M, K = A.shape\n",
            "    M, K = A.shape\n    assert A.is_cuda and A.device.type == 'cuda'\n"
            "    assert torch.cuda.get_device_properties(A.device).multi_processor_count > 0\n"
            "    assert triton.runtime.driver.active.get_current_target().arch == 90\n",
        )
    ),
    "range options and hints": changed(
        ("range(0, K, BLOCK_K)", "tl.range(0, K, BLOCK_K, num_stages=4, loop_unroll_factor=2, warp_specialize=True)"),
        (
            "offsets, mask=mask, other=0.0)",
            "offsets, mask, other=0.0, eviction_policy='evict_first', cache_modifier='.cg')",
        ),
        ("= tl.arange(0, BLOCK_K)\n", "= tl.max_contiguous(tl.arange(0, BLOCK_K), BLOCK_K)\n    tl.assume(K > 0)\n"),
    ),
    "autotuned": changed(
        ("@triton.jit", AUTOTUNE.format("{'BLOCK_K': 1024}", "{'BLOCK_K': 4096}")),
        (", BLOCK_K=1024, num_warps=4", ""),
    ),
    "block pointers": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    a_block = tl.make_block_ptr(a_ptr, (M, K), (K, 1), (row, 0), (1, BLOCK), (1, 0))
    acc = tl.zeros((1, BLOCK), tl.float32)
    for k in range(0, K, BLOCK):
        a = tl.load(a_block, boundary_check=(1,), padding_option="zero")
        b = tl.load(b_ptr + k + tl.arange(0, BLOCK), mask=k + tl.arange(0, BLOCK) < K, other=0.0)
        acc += a.to(tl.float32) * b[None, :].to(tl.float32)
        a_block = tl.advance(a_block, (0, BLOCK))
    tl.store(y_ptr + row + tl.arange(0, 1), tl.sum(acc, axis=1))

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(A.shape[0],)](A, B, y, A.shape[0], A.shape[1], BLOCK=2048)
    return y
""",
    "tensor descriptors, persistent": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    a_desc = tl.make_tensor_descriptor(a_ptr, shape=[M, K], strides=[K, 1], block_shape=[ROWS, BLOCK])
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, ROWS), tl.num_programs(0), flatten=True):
        acc = tl.zeros((ROWS,), tl.float32)
        for k in range(0, K, BLOCK):
            a = a_desc.load([tile * ROWS, k])
            b = tl.load(b_ptr + k + tl.arange(0, BLOCK), mask=k + tl.arange(0, BLOCK) < K, other=0.0)
            acc += tl.sum(a.to(tl.float32) * b[None, :].to(tl.float32), axis=1)
        rows = tile * ROWS + tl.arange(0, ROWS)
        tl.store(y_ptr + rows, acc.to(tl.bfloat16), mask=rows < M)

def kernel_function(A, B):
    triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device="cuda"))
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(132,)](A, B, y, A.shape[0], A.shape[1], ROWS=4, BLOCK=1024, num_warps=8, num_stages=3)
    return y
""",
    "split-K with atomics and a second kernel": HEADER
    + """
@triton.jit
def part(a_ptr, b_ptr, w_ptr, K, BLOCK: tl.constexpr, SPLIT: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for k in range(tl.program_id(1) * BLOCK, K, BLOCK * SPLIT):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row * K + at, mask=at < K, other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc += a.to(tl.float32) * b.to(tl.float32)
    tl.atomic_add(w_ptr + row, tl.sum(acc, axis=0))

@triton.jit
def finish(w_ptr, y_ptr, M, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(w_ptr + at, mask=at < M).to(y_ptr.dtype.element_ty), mask=at < M)

def kernel_function(A, B):
    M, K = A.shape
    w = torch.zeros((M,), dtype=torch.float32, device=A.device)
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    part[(M, 4)](A, B, w, K, BLOCK=512, SPLIT=4)
    finish[(triton.cdiv(M, 256),)](w, y, M, BLOCK=256)
    return y
""",
    "a reduction of its own, the device library": HEADER
    + """
from triton.language.extra import libdevice

@triton.jit
def plus(a, b):
    return a + b

@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, K, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for k in range(0, K, BLOCK):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row * K + at, mask=at < K, other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc = libdevice.fma(a.to(tl.float32), b.to(tl.float32), acc)
    tl.store(y_ptr + row, tl.reduce(acc, 0, plus))

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(A.shape[0],)](A, B, y, A.shape[1], BLOCK=1024)
    return y
""",
    "a product on tensor cores": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * 16 + tl.arange(0, 16)
    acc = tl.zeros((16, 16), tl.float32)
    for k in range(0, K, BLOCK):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + rows[:, None] * K + at[None, :], mask=(rows[:, None] < M) & (at[None, :] < K), other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc = tl.dot(a, tl.where(tl.arange(0, 16)[None, :] == 0, b[:, None], 0.0).to(a.dtype), acc)
    tl.store(y_ptr + rows, tl.sum(acc, axis=1), mask=rows < M)

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(triton.cdiv(A.shape[0], 16),)](A, B, y, A.shape[0], A.shape[1], BLOCK=256)
    return y
""",
}
