"""Kernels of TritonBench-G: kernels collected from many repositories, Triton's tutorials among them."""

from public.adapter import Adapter, Repository
from public.tritonbench_blocks import BLOCKS, UNDEFINED

from kopt.model.problem import InputRule, Keep, Layout, Tolerance

GIVEN = InputRule(keep=Keep.AS_GIVEN)
ONE = {"main": "N=67108864", "small": "N=3000; N=4096"}
ROWS = {"main": "M=4096, N=4096", "small": "M=5, N=300; M=4, N=512"}
X = "torch.randn(N)"
XS = "torch.randn(M, N)"
COPY = "torch.randperm(L)[:S].int()"
CACHE = {"main": "S=2048, L=4096, H=8, D=128", "small": "S=5, L=9, H=3, D=32; S=3, L=6, H=4, D=16"}
SCAN = {"main": "B=8, H=16, T=4096", "small": "B=2, H=2, T=192; B=1, H=3, T=128"}
RAGGED = {"main": "B=8, H=16, T=4001", "small": "B=2, H=2, T=200; B=1, H=3, T=100"}
SCANS = {"main": "B=4, H=8, T=2048, S=128", "small": "B=1, H=2, T=128, S=64; B=2, H=1, T=64, S=32"}

# a table: with one argument a line it would be three times as long
# fmt: off
POINTWISE = (
    Adapter("add_value", "add_value.py", "x: x + 10", X, "x: puzzle1(x)", **ONE),
    Adapter("cosine", "cosine_compute.py", "x: torch.cos(x)", X, "x: cos(x)", "N=16777216", "N=3000; N=4096"),
    Adapter(
        "sine_tiny_blocks", "sin_computation.py", "x: torch.sin(x)", X,
        """x:
        out = torch.empty_like(x)
        sin_triton(x, out)
        return out""",
        "N=65536", "N=100; N=64",
    ),
    Adapter(
        "sine", "sin_kernel.py", "x: torch.sin(x)", X, "x: call_kernel(x)",
        replace=(("kernel_function", "sine_kernel"),), **ONE,
    ),
    Adapter(
        "custom_add", "vector_addition_custom.py", "a, b: a + b", f"{X}, {X}", "a, b: custom_add(a, b)",
        "N=1048576", "N=100; N=64",
    ),
    Adapter("add_tutorial", "vector_addition.py", "x, y: x + y", f"{X}, {X}", "x, y: add(x, y)", **ONE),
    Adapter(
        "add_example", "add_example.py", "x, y: x + y", f"{X}, {X}", "x, y: add_wrapper(x, y)",
        "N=262144", "N=101; N=64",
    ),
    Adapter("twice", "triton_mul2.py", "x: 2 * x", X, "x: triton_mul2(x)", "N=1048576", "N=101; N=64"),
    Adapter(
        "twice_in_place", "triton_mul2.py", "x: x.mul_(2)", X, "x: triton_mul2_inplace(x)",
        "N=1048576", "N=101; N=64", mutates=("x",),
    ),
    Adapter(
        "dropout_by_mask", "dropout_triton.py", "x, keep: torch.where(keep != 0, x / 0.5, 0.0)",
        f"{X}, (torch.rand(N) > 0.5).int()", "x, keep: dropout(x, keep, 0.5)", **ONE,
    ),
    Adapter(
        "relu_first_block", "relu_triton_kernel.py", "x: F.relu(x)", X, "x: relu(x)", "N=65536", "N=3000; N=2048",
        ends="incorrect", why="wrong in the original: `if pid == 0` stores the first block of 1024 elements only",
    ),
    Adapter(
        "relu_strided_buffer", "relu_strided_buffer.py", "x: F.relu(x)", X,
        "x: relu_forward_wrapper_rank_1(x, out0=torch.empty_like(x))", **ONE,
    ),
    Adapter(
        "is_finite", "isfinite_kernel.py", "x: torch.isfinite(x)", "torch.randn(N) / (torch.rand(N) > 0.2)",
        "x: isfinite_func_wrapper_rank_1(x, out0=torch.empty_like(x, dtype=torch.bool))", **ONE,
    ),
    Adapter(
        "power_of_scalar", "pow_scalar_tensor.py", "x: torch.pow(2.5, x)", X,
        "x: pow_func_scalar_tensor_wrapper_rank_1(2.5, x, out0=torch.empty_like(x))", **ONE,
    ),
    Adapter(
        "masked_add_in_place", "masked_add_cuda.py",
        "g, p, mask: g.copy_(torch.where(mask != 0, g, g + 0.3 * p))", f"{X}, {X}, (torch.rand(N) > 0.5).int()",
        """g, p, mask:
        masked_add(g, p, mask, 0.3)
        return g""", mutates=("g",), **ONE,
    ),
    Adapter(
        "kl_elements", "kldiv_compute.py", "x, y: x * torch.log(x / y)", "torch.rand(N) + 0.1, torch.rand(N) + 0.1",
        "x, y: kldivergence(x, y)", **ONE,
    ),
    Adapter(
        "add_multiply_sigmoid_in_place", "fused_activation.py",
        "x, b, y: x.copy_(torch.sigmoid(0.5 * y + x + b.repeat(M)))", "torch.randn(M * N), torch.randn(N), "
        "torch.randn(M * N)", "x, b, y: fused_add_mul_activation_torch(x, b, y)",
        "M=4096, N=4096", "M=32, N=100; M=16, N=128", mutates=("x",),
    ),
    Adapter(
        "lion_update_in_place", "adam_update_triton.py",
        """p, g, m:
        d = m - g
        u = d * 0.9 + g
        p.copy_(p * (1 - 0.01 * 0.1) - 0.01 * torch.sign(u))
        m.copy_(d * 0.99 + g)
        return p, m""",
        f"{X}, {X}, {X}",
        """p, g, m:
        update_fn(p, g, m, 0.01, 0.1, 0.9, 0.99)
        return p, m""", mutates=("p", "m"), **ONE,
    ),
    Adapter(
        "quantize_global", "quantize_global.py", "x, inv: torch.round(127 * (x * inv)).to(torch.int8)",
        "*(lambda x: (x, (1 / x.abs().max())[None]))(torch.randn(M, N))",
        """x, inv:
        out = torch.empty(*x.shape, device=x.device, dtype=torch.int8)
        n = out.numel()
        _quantize_global[lambda meta: (triton.cdiv(n, meta["BLOCK_SIZE"]),)](x, inv, out, n)
        return out""", rules=(("x", GIVEN), ("inv", GIVEN)), **ROWS,
    ),
    Adapter(
        "quantize_rows", "rowwise_quantization_triton.py",
        """x:
        top = x.abs().amax(-1)
        return torch.round(127 * (x / top[:, None])).to(torch.int8), top""",
        XS, "x: quantize_rowwise(x)", dtype="float16", **ROWS,
    ),
    Adapter(
        "dequantize_rows", "dequantize_rowwise.py", "x, top: (top[:, None] * x * (1 / 127))",
        "torch.randint(-127, 128, (M, N), dtype=torch.int8), torch.rand(M) + 0.5",
        "x, top: dequantize_rowwise(x, top)", dtype="float16", **ROWS,
    ),
    Adapter(
        "dequantize_columns", "dequantize_matmul.py", "b, scale: b * scale",
        "torch.randint(-127, 128, (M, N), dtype=torch.int8), torch.rand(N) + 0.5",
        """b, scale:
        k, n = b.shape
        out = torch.empty(k, n, device=b.device, dtype=scale.dtype)
        grid = lambda meta: (triton.cdiv(k, meta["BLOCK_SIZE_K"]), triton.cdiv(n, meta["BLOCK_SIZE_N"]))
        dequantize_kernel[grid](b, scale, out, k, n, *b.stride(), *out.stride())
        return out""", dtype="float16", **ROWS,
    ),
    Adapter(
        "unpack_fp4", "fp4_to_bf16.py",
        """x:
        table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6],
                             device=x.device, dtype=torch.bfloat16)
        return table[torch.stack((x >> 4, x & 15), -1).flatten(-2).long()]""",
        "torch.randint(0, 256, (M, N), dtype=torch.uint8)", "x: triton_f4_to_bf16(x)", dtype="bfloat16", **ROWS,
    ),
    Adapter("square", "square_matrix.py", "x: x * x", XS, "x: square(x)", **ROWS),
    Adapter(
        "transpose", "matrix_transpose.py", "x: x.t().contiguous()", XS,
        """x:
        m, n = x.shape
        out = torch.zeros((n, m), dtype=x.dtype, device=x.device)
        kernel[(1,)](x, out, *x.stride(), *out.stride(), m, n)
        return out""",
        "M=128, N=64", "M=16, N=32; M=64, N=8", dtype="float16",
    ),
    Adapter(
        "swiglu", "swiglu_fwd.py", "xy: F.silu(xy[:, :N]) * xy[:, N:]", "torch.randn(M, 2 * N)",
        "xy: _swiglu_fwd(xy, torch.empty(xy.shape[0], xy.shape[1] // 2, device=xy.device))", **ROWS,
    ),
    Adapter(
        "swiglu_backward", "swiglu_backward.py",
        """xy, d:
        x, y = xy.chunk(2, -1)
        s = torch.sigmoid(x)
        return torch.cat((s * (1 + x * (1 - s)) * y * d, x * s * d), -1)""",
        "torch.randn(M, 2 * N), torch.randn(M, N)", "xy, d: _swiglu_bwd(xy, d)", **ROWS,
    ),
    Adapter(
        "swiglu_liger_copy", "swiglu_triton.py", "a, b: F.silu(a) * b", f"{XS}, {XS}",
        "a, b: swiglu_forward(a, b)[2]", **ROWS,
    ),
)

MOVES = (
    Adapter(
        "scatter_rows_in_place", "destindex_copy_kv2.py", "k, to, out: out.index_copy_(0, to.long(), k)",
        f"torch.randn(S, H, D), {COPY}, torch.randn(L, H, D)",
        """k, to, out:
        destindex_copy_kv(k, to, out)
        return out""", mutates=("out",), **CACHE,
    ),
    Adapter(
        "scatter_ragged_rows_in_place", "destindex_copy_kv1.py", "k, to, out: out.index_copy_(0, to.long(), k)",
        f"torch.randn(S, H, D), {COPY}, torch.randn(L, H, D)",
        """k, to, out:
        destindex_copy_kv(k, to, out)
        return out""",
        "S=2048, L=4096, H=5, D=96", "S=5, L=9, H=3, D=20; S=3, L=6, H=5, D=16", mutates=("out",), dtype="float16",
    ),
    Adapter(
        "scatter_two_in_place", "destindex_copy.py",
        "k, r, to, a, b: (a.index_copy_(0, to.long(), k), b.index_copy_(0, to.long(), r))",
        f"torch.randn(S, 1, D), torch.randn(S, 1, H), {COPY}, torch.randn(L, 1, D), torch.randn(L, 1, H)",
        """k, r, to, a, b:
        destindex_copy_kv(k, r, to, a, b)
        return a, b""",
        "S=2048, L=4096, D=512, H=64", "S=5, L=9, D=64, H=16; S=3, L=4, D=32, H=8", mutates=("a", "b"),
    ),
    Adapter(
        "scatter_quantized_in_place", "quantize_copy_kv.py",
        """k, to, out, scale:
        s = (k.abs().amax(-1, keepdim=True) / 127)
        out.index_copy_(0, to.long(), (k / s).to(torch.int8))
        scale.index_copy_(0, to.long(), s)
        return out, scale""",
        f"torch.randn(S, H, D), {COPY}, torch.zeros(L, H, D, dtype=torch.int8), torch.zeros(L, H, 1)",
        """k, to, out, scale:
        destindex_copy_quantize_kv(k, to, out, scale)
        return out, scale""", mutates=("out", "scale"), dtype="float16",
        tolerance=Tolerance(absolute=1e-3, relative=2e-3, matched=0.95), **CACHE,
    ),
    Adapter(
        "ragged_copy_in_place", "var_len_copy.py",
        """start, length, old, to, new:
        at = torch.arange(L, device=old.device)
        moved = old.view(S, L)[(start // L)]
        rows = new.view(S, L)
        kept = torch.where(at < length[:, None], moved, rows[(to // L)])
        return rows.index_copy_(0, to // L, kept).view(-1)""",
        "torch.arange(S) * L, torch.randint(1, L, (S,)), torch.randn(S * L), torch.arange(S).flip(0) * L, "
        "torch.zeros(S * L)",
        """start, length, old, to, new:
        launch_var_len_copy_triton(start, length, old, to, new)
        return new""",
        "S=8192, L=200", "S=4, L=50; S=3, L=200", mutates=("new",),
        rules=(("start", GIVEN), ("length", GIVEN), ("to", GIVEN)),
    ),
    Adapter(
        "long_ragged_copy_in_place", "var_len_copy.py",
        """start, length, old, to, new:
        at = torch.arange(L, device=old.device)
        moved = old.view(S, L)[(start // L)]
        rows = new.view(S, L)
        kept = torch.where(at < length[:, None], moved, rows[(to // L)])
        return rows.index_copy_(0, to // L, kept).view(-1)""",
        "torch.arange(S) * L, torch.randint(L // 2, L, (S,)), torch.randn(S * L), torch.arange(S).flip(0) * L, "
        "torch.zeros(S * L)",
        """start, length, old, to, new:
        launch_var_len_copy_triton(start, length, old, to, new)
        return new""",
        "S=8192, L=700", "S=4, L=700; S=3, L=600", mutates=("new",),
        rules=(("start", GIVEN), ("length", GIVEN), ("to", GIVEN)),
        ends="failed interpret",
        why="wrong in the original: its mask compares the offset in the block, not in the row, with the length: the "
        "last block of a row longer than 256 is copied beyond the row's end",
    ),
    Adapter(
        "select_rows", "index_select_cat.py", "x, at: x[at]", "torch.randn(M, N), torch.randperm(M)[:K]",
        "x, at: index_select_cat_fwd(torch.empty(at.shape[0], x.shape[1], device=x.device), x, at)",
        "M=8192, K=4096, N=2048", "M=9, K=5, N=600; M=6, K=6, N=512",
    ),
    Adapter(
        "select_rows_backward_in_place", "index_select_bwd.py", "g, at, d: g.index_copy_(0, at, d)",
        "torch.zeros(M, N), torch.randperm(M)[:K], torch.randn(K, N)",
        """g, at, d:
        index_select_cat_bwd(g, at, d)
        return g""",
        "M=8192, K=4096, N=2048", "M=9, K=5, N=600; M=6, K=6, N=512", mutates=("g",),
    ),
    Adapter(
        "embedding_of_a_shard", "embedding_triton_kernel.py",
        """ids, w:
        inside = (ids >= 5) & (ids < 5 + V)
        return torch.where(inside[:, None], w[(ids - 5).clamp(0, V - 1).long()], 0.0)""",
        "torch.randint(0, V + 10, (S,)), torch.randn(V, N)",
        """ids, w:
        out = torch.empty(ids.shape[0], w.shape[1], device=w.device)
        embedding(ids, w, 5, 5 + w.shape[0], out)
        return out""",
        "V=32000, S=8192, N=1024", "V=20, S=70, N=100; V=9, S=64, N=32",
    ),
    Adapter(
        "apply_penalty_in_place", "apply_penalty.py",
        """x, presence, frequency, repetition, ids, counts, ends:
        for b in range(M):
            at = ids[b * K:(b + 1) * K].long()
            v = x[b, at]
            v = torch.where(v > 0, v / repetition[b], v * repetition[b])
            x[b, at] = v - counts[b * K:(b + 1) * K] * frequency[b] - presence[b]
        return x""",
        "torch.randn(M, N), torch.rand(M), torch.rand(M), torch.rand(M) + 1, "
        "torch.cat([torch.randperm(N)[:K] for _ in range(M)]), torch.randint(1, 5, (M * K,)), torch.arange(M + 1) * K",
        """x, presence, frequency, repetition, ids, counts, ends:
        apply_penalty(x, presence, frequency, repetition, ids, counts, ends, ids.shape[0] // x.shape[0])
        return x""",
        "M=64, N=32000, K=500", "M=3, N=300, K=40; M=2, N=100, K=64", mutates=("x",),
        rules=(("ids", GIVEN), ("counts", GIVEN), ("ends", GIVEN)),
    ),
    Adapter(
        "copy_to_blocked_cache_in_place", "kcache_copy_triton.py",
        """k, cache, lengths, table:
        at = lengths.long() - 1
        block = table[torch.arange(S), at // 16].long()
        cache[block, :, at % 16] = k
        return cache""",
        "torch.randn(S, H, D), torch.randn(S * 4, H, 16, D), torch.randint(1, 64, (S,)), "
        "torch.randperm(S * 4).view(S, 4)",
        """k, cache, lengths, table:
        copy_k_to_blocked_cache(k, cache, lengths, table)
        return cache""",
        "S=256, H=8, D=128", "S=3, H=2, D=32; S=2, H=4, D=16", mutates=("cache",),
        rules=(("lengths", GIVEN), ("table", GIVEN)),
    ),
)

SOFTMAX = "x: F.softmax(x, -1)"
VARLEN_SOFTMAX = """x, start, length, out:
        inside = torch.arange(L, device=x.device) < length[:, None]
        new = x.view(H, S, L).masked_fill(~inside, float("-inf")).softmax(-1)
        return out.copy_(torch.where(inside.flatten(), new.view(H, S * L), out))"""
VARLEN_ENTRY = """x, start, length, out:
        token_softmax_fwd(x, start, length, out, x.shape[1] // start.shape[0])
        return out"""
VARLEN_INPUTS = "torch.randn(H, S * L), torch.arange(S) * L, torch.randint(1, L + 1, (S,)), torch.zeros(H, S * L)"
VARLEN = {
    "main": "H=16, S=16, L=2048", "small": "H=2, S=3, L=50; H=3, S=2, L=64", "mutates": ("out",),
    "rules": (("start", GIVEN), ("length", GIVEN)),
}

REDUCTIONS = (
    Adapter("softmax_tutorial", "softmax_triton1.py", SOFTMAX, XS, "x: softmax(x)", **ROWS),
    Adapter("softmax_tutorial_bfloat16", "softmax_triton2.py", SOFTMAX, XS, "x: softmax(x)", dtype="bfloat16", **ROWS),
    Adapter(
        "softmax_online", "softmax_optimize.py", SOFTMAX, XS, "x: softmax(x)", "M=4096, N=4096",
        "M=5, N=256; M=4, N=512",
    ),
    Adapter(
        "softmax_online_ragged", "softmax_optimize.py", SOFTMAX, XS, "x: softmax(x)", "M=4096, N=4000",
        "M=5, N=300; M=4, N=500", ends="incorrect",
        why="wrong in the original: -inf less -inf, NaN, in the columns beyond the row's end",
    ),
    Adapter(
        "softmax_masked", "softmax_triton3.py", "x, mask: F.softmax(x + mask, -1)",
        "torch.randn(M, N), torch.where(torch.rand(M, N) > 0.3, 0.0, -1e4)", "x, mask: softmax(x, mask)", **ROWS,
    ),
    Adapter("softmax_short", "triton_softmax.py", SOFTMAX, XS, "x: triton_softmax(x)",
            "M=65536, N=1000", "M=5, N=300; M=3, N=1024"),
    Adapter(
        "softmax_long", "triton_softmax.py", SOFTMAX, XS, "x: triton_softmax(x)", "M=4096, N=4096",
        "M=5, N=1300; M=3, N=2048", ends="incorrect",
        why="wrong in the original: its block is capped at 1024 columns and no loop: later columns are left out",
    ),
    Adapter(
        "softmax_three_dimensions", "ksoftmax_triton.py", SOFTMAX, "torch.randn(B, M, N)",
        """x:
        y = torch.empty_like(x)
        softmax(y, x)
        return y""",
        "B=16, M=1024, N=2048", "B=2, M=3, N=100; B=1, M=4, N=128",
    ),
    Adapter(
        "log_softmax_three_dimensions", "ksoftmax_triton.py", "x: F.log_softmax(x, -1)", "torch.randn(B, M, N)",
        """x:
        y = torch.empty_like(x)
        softmax(y, x, log=True)
        return y""",
        "B=16, M=1024, N=2048", "B=2, M=3, N=100; B=1, M=4, N=128",
    ),
    Adapter(
        "log_softmax", "log_softmax.py", "x: F.log_softmax(x, -1)", XS, "x: log_softmax(x)", ends="incorrect",
        why="wrong in the original: logarithm of a quotient that underflows: -inf where a finite value is right",
        **ROWS,
    ),
    Adapter(
        "log_softmax_backward", "log_softmax.py", "y, d: d - y.exp() * d.sum(-1, keepdim=True)",
        "torch.randn(M, N).log_softmax(-1), torch.randn(M, N)",
        """y, d:
        m, n = y.shape
        out = torch.empty_like(y)
        log_softmax_backward_kernel[lambda meta: (triton.cdiv(m, meta["BLOCK_M"]), 1)](y, d, out, m, n, 1)
        return out""", "M=4096, N=4096", "M=8, N=256; M=16, N=512",
    ),
    Adapter(
        "log_softmax_backward_ragged", "log_softmax.py", "y, d: d - y.exp() * d.sum(-1, keepdim=True)",
        "torch.randn(M, N).log_softmax(-1), torch.randn(M, N)",
        """y, d:
        m, n = y.shape
        out = torch.empty_like(y)
        log_softmax_backward_kernel[lambda meta: (triton.cdiv(m, meta["BLOCK_M"]), 1)](y, d, out, m, n, 1)
        return out""", "M=4096, N=4000", "M=8, N=300; M=16, N=500", ends="incorrect",
        why=UNDEFINED,
    ),
    Adapter("softmax_of_tokens_bloom", "token_softmax_bloom.py", VARLEN_SOFTMAX, VARLEN_INPUTS, VARLEN_ENTRY, **VARLEN),
    Adapter("softmax_of_tokens_llama", "token_softmax_llama.py", VARLEN_SOFTMAX, VARLEN_INPUTS, VARLEN_ENTRY, **VARLEN),
    Adapter("mean_of_rows", "mean_reduction.py", "x: x.mean(-1)", XS, "x: mean_dim(x, 1)", **ROWS),
    Adapter(
        "mean_of_columns", "mean_reduction.py", "x: x.mean(0)", XS, "x: mean_dim(x, 0)",
        "M=4096, N=4096", "M=30, N=50; M=16, N=64",
    ),
    Adapter(
        "max_of_one_block", "matrix_reduction.py", "x: x.amax(1)", XS,
        """x:
        y = torch.empty((x.shape[0],), device=x.device, dtype=x.dtype)
        load_reduce_kernel[(1,)](x, y, x.stride(0), x.stride(1), y.stride(0), *x.shape)
        return y""",
        "M=128, N=64", "M=16, N=32; M=32, N=8", dtype="float16",
    ),
    Adapter("max_of_all", "max_reduction.py", "x: x.max()", X, "x: max(x)", "N=16777216", "N=3000; N=4096"),
    Adapter("max_of_rows", "max_reduction.py", "x: x.max(1)", XS, "x: max_dim(x, 1)", **ROWS),
    Adapter(
        "argmax_of_all", "triton_argmax.py", "x: x.argmax()", X, "x: argmax(x)", "N=16777216", "N=3000; N=4096",
    ),
    Adapter("argmax_of_rows", "triton_argmax.py", "x: x.argmax(1)", XS, "x: argmax(x, 1)", **ROWS),
    Adapter(
        "logsumexp", "logsumexp_fwd.py", "x: x.logsumexp(-1, keepdim=True)", XS,
        """x:
        m, n = x.shape
        z = torch.empty(m, 1, device=x.device)
        logsumexp_fwd_kernel[(m, 1)](x=x, z=z, scale=None, D=n, B=triton.next_power_of_2(n))
        return z""", **ROWS,
    ),
    Adapter(
        "cumsum_of_scalars", "chunk_cumsum_kernel.py", "x: x.cumsum(-1)", "torch.randn(B, H, T)",
        "x: chunk_global_cumsum_scalar(x)", **SCAN,
    ),
    Adapter(
        "reversed_cumsum_of_scalars", "reversed_cumsum_scalar.py", "x: x.flip(-1).cumsum(-1).flip(-1)",
        "torch.randn(B, H, T)", "x: chunk_global_reversed_cumsum_scalar(x)", **SCAN,
    ),
    Adapter(
        "reversed_cumsum_of_ragged_scalars", "reversed_cumsum_scalar.py", "x: x.flip(-1).cumsum(-1).flip(-1)",
        "torch.randn(B, H, T)", "x: chunk_global_reversed_cumsum_scalar(x)", ends="incorrect",
        why=UNDEFINED, **RAGGED,
    ),
    Adapter(
        "cumsum_of_vectors", "chunk_cumsum_vector.py", "x: x.cumsum(-2)", "torch.randn(B, H, T, S)",
        "x: chunk_global_cumsum_vector(x)", **SCANS,
    ),
    Adapter(
        "reversed_cumsum_of_vectors", "reversed_cumsum.py", "x: x.flip(-2).cumsum(-2).flip(-2)",
        "torch.randn(B, H, T, S)", "x: chunk_global_reversed_cumsum_vector(x)", **SCANS,
    ),
    Adapter(
        "decay_cumsum", "decay_cumsum.py",
        "g: (g.view(B * H, T // 16, 16, D).cumsum(2) * 1.44269504).view(B, H, T, D)", "torch.randn(B, H, T, D)",
        """g:
        b, h, t, d = g.shape
        out = torch.empty_like(g)
        launch_fwd_decay_cumsum(g, out, b, h, t, 1.0, 16, 16, d)
        return out""",
        "B=4, H=1, T=2048, D=128", "B=1, H=1, T=32, D=32; B=2, H=1, T=16, D=16",
    ),
    Adapter(
        "decay_cumsum_of_heads", "decay_cumsum.py",
        "g: (g.view(B * H, T // 16, 16, D).cumsum(2) * 1.44269504).view(B, H, T, D)", "torch.randn(B, H, T, D)",
        """g:
        b, h, t, d = g.shape
        out = torch.empty_like(g)
        launch_fwd_decay_cumsum(g, out, b, h, t, 1.0, 16, 16, d)
        return out""",
        "B=4, H=8, T=2048, D=128", "B=1, H=2, T=32, D=32; B=2, H=2, T=16, D=16", ends="failed interpret",
        why="wrong in the original: takes H * T * D for the distance of two heads, and reads beyond the tensor",
    ),
    Adapter(
        "softplus_cumsum", "chunked_cumsum_fwd.py",
        """dt, a:
        dt = F.softplus(dt).transpose(1, 2).reshape(B, H, T // 32, 32)
        return (dt * a[None, :, None, None]).cumsum(-1), dt""",
        "torch.randn(B, T, H), -torch.rand(H)", "dt, a: _chunk_cumsum_fwd(dt, a, 32, dt_softplus=True)",
        "B=8, T=4096, H=64", "B=2, T=64, H=5; B=1, T=96, H=8", layout=Layout.ANY,
    ),
    Adapter(
        "rms_norm", "rms_norm_triton.py", "x, w: F.rms_norm(x, (N,), w, 1e-5)", "torch.randn(M, N), torch.randn(N)",
        "x, w: rms_norm(x, (x.shape[1],), w)", **ROWS,
    ),
    Adapter(
        "rms_norm_by_power", "rmsnorm_triton.py", "x, w: F.rms_norm(x, (N,), w, 1e-6)",
        "torch.randn(B, M, N), torch.randn(N)", "x, w: rmsnorm_triton_wrapper(x, w)",
        "B=4, M=1024, N=4096", "B=2, M=3, N=300; B=1, M=2, N=2048",
    ),
    Adapter(
        "rms_norm_by_division", "rmsnorm_implementation.py", "x, w: F.rms_norm(x, (N,), w, 1e-6)",
        "torch.randn(B, M, N), torch.randn(N)", "x, w: rmsnorm_wrapper(x, w)",
        "B=4, M=1024, N=4096", "B=2, M=3, N=300; B=1, M=2, N=4096", dtype="float16",
    ),
    Adapter(
        "rms_norm_lightllm", "rmsnorm_fused_llama.py", "x, w: F.rms_norm(x, (N,), w, 1e-5)",
        "torch.randn(M, N), torch.randn(N)", "x, w: rmsnorm_forward(x, w, 1e-5)", dtype="float16",
        main="M=4096, N=4096", small="M=3, N=300; M=2, N=512",
    ),
    Adapter(
        "rms_norm_module", "rmsnorm_fused.py", "x, w: F.rms_norm(x, (N,), w, 1e-6)",
        "torch.randn(M, N), torch.randn(N)", "x, w: TritonLlamaRMSNorm(w).forward(x)", **ROWS,
    ),
    Adapter(
        "l2_norm", "l2_norm_triton1.py", "x: x * (x.pow(2).sum(-1, keepdim=True) + 1e-6).rsqrt()", XS,
        "x: _l2_norm_fwd(x)", **ROWS,
    ),
    Adapter(
        "l2_norm_backward", "l2_norm_bwd.py",
        """x, dy:
        s = x.pow(2).sum(-1, keepdim=True) + 1e-5
        return dy * s.rsqrt() - (dy * x).sum(-1, keepdim=True) / s * s.rsqrt() * x""",
        f"{XS}, {XS}", "x, dy: _l2_norm_bwd(x, dy)", **ROWS,
    ),
    Adapter(
        "layer_norm_mamba", "layer_norm_fwd.py", "x, w, b, r: (F.layer_norm(x + r, (N,), w, b, 1e-5), x + r)",
        "torch.randn(M, N), torch.randn(N), torch.randn(N), torch.randn(M, N)",
        "x, w, b, r: _layer_norm_fwd(x, w, b, 1e-5, residual=r)[0:5:4]", **ROWS,
    ),
    Adapter(
        "layer_norm_inductor", "layer_norm_welfold.py", "w, b, x: F.layer_norm(x, (N,), w, b, 1e-5)",
        "torch.randn(N), torch.randn(N), torch.randn(M, N)",
        """w, b, x:
        m, n = x.shape
        mean, rstd = torch.empty(m, 1, device=x.device), torch.empty(m, 1, device=x.device)
        out = torch.empty_like(x)
        triton_red_fused_native_layer_norm_no_welford[lambda meta: (triton.cdiv(m, meta["XBLOCK"]),)](
            mean, rstd, x, w, b, out, m, n)
        return out""", replace=(
            ("from torch._C import _cuda_getCurrentRawStream as get_raw_stream\n", ""),
            ("from torch._inductor.runtime.triton_helpers import libdevice",
             "from triton.language.extra import libdevice"),
            ("empty_strided_cuda = torch._C._dynamo.guards._empty_strided_cuda\n", ""),
            ("reinterpret_tensor = torch.ops.inductor._reinterpret_tensor\n", ""),
            ("    with torch.cuda._DeviceGuard(0):\n        torch.cuda.set_device(0)\n", "    if True:\n"),
        ), dtype="bfloat16",
        main="M=4096, N=4096", small="M=3, N=2048; M=2, N=4096",
    ),
)

REPOSITORY = Repository("TritonBench", "data/TritonBench_G_v1", (*POINTWISE, *MOVES, *REDUCTIONS, *BLOCKS), whole=True)
