"""Kernels of TritonBench-G that work on blocks: matrix products, attention, convolution, rotary embeddings."""

from public.adapter import Adapter

from kopt.model.problem import InputRule, Keep

UNDEFINED = (
    "relies on what Triton leaves undefined: sums what masked-off lanes hold after a load without `other` or "
    "padding_option (0 on NVIDIA's GPUs with Triton 3.7, NaN in kopt's interpreter)"
)
GIVEN = InputRule(keep=Keep.AS_GIVEN)
MM = "torch.randn(M, K), torch.randn(K, N)"
HEADS = {"main": "B=4, S=2048, H=16, K=4, D=128", "small": "B=2, S=5, H=4, K=2, D=32; B=1, S=3, H=3, K=1, D=16"}
ROTATE = "def rotate(x):\n    a, b = x.chunk(2, -1)\n    return torch.cat((-b, a), -1)\n"
IV = """a, b:
        m, n = a.shape[0], b.shape[1]
        c = torch.empty((m, n), device=a.device, dtype=a.dtype)
        iv_dependent_matmul_kernel[(triton.cdiv(m, 32) * triton.cdiv(n, 32),)](
            a, b, c, m, n, a.shape[1], *a.stride(), *b.stride(), *c.stride(), BLOCK_SIZE_M=32, BLOCK_SIZE_N=32,
            BLOCK_SIZE_K=32, type="{}", num_stages=3)
        return c"""

# a table: with one argument a line it would be three times as long
# fmt: off
BLOCKS = (
    Adapter(
        "matmul_one_program", "matmul_triton1.py", "x, y: x @ y", MM, "x, y: matmul(x, y)", "M=64, N=64, K=32",
        "M=16, N=32, K=16; M=32, N=16, K=64",
    ),
    Adapter(
        "matmul_autotuned", "matmul_triton2.py", "a, b: a @ b", MM, "a, b: triton_matmul(a, b)",
        "M=4096, N=4096, K=4096", "M=128, N=256, K=96; M=256, N=256, K=64", dtype="float16",
    ),
    Adapter(
        "matmul_autotuned_ragged", "matmul_triton2.py", "a, b: a @ b", MM, "a, b: triton_matmul(a, b)",
        "M=4000, N=4000, K=4000", "M=40, N=50, K=30; M=100, N=70, K=64", dtype="float16",
        ends="failed interpret", why="wrong in the original: loads rows and columns beyond the matrices without a mask",
    ),
    Adapter(
        "matmul_leaky_relu", "matmul_leakyrelu.py", "a, b: F.leaky_relu(a @ b, 0.01)", MM,
        "a, b: matmul(a, b, 'leaky_relu')", "M=4096, N=4096, K=4096", "M=40, N=50, K=70; M=64, N=64, K=64",
        dtype="float16",
    ),
    Adapter(
        "matmul_tutorial", "matmul_triton_autotune.py", "a, b: a @ b", MM, "a, b: matmul(a, b)",
        "M=4096, N=4096, K=4096", "M=40, N=50, K=70; M=128, N=256, K=64", dtype="float16",
    ),
    Adapter(
        "matmul_with_metadata", "triton_matmul.py", "a, b: a @ b", MM, "a, b: matmul(a, b)",
        "M=4096, N=4096, K=4096", "M=40, N=50, K=70; M=256, N=256, K=128", dtype="float16",
    ),
    Adapter(
        "matmul_persistent", "matmul_persistent_triton.py", "a, b: a @ b", MM, "a, b: matmul_persistent(a, b)",
        "M=4096, N=4096, K=4096", "M=300, N=260, K=70; M=256, N=1024, K=128", dtype="float16",
    ),
    *(
        Adapter(
            f"matmul_{name}", "iv_dependent_matmul.py", "a, b: a @ b", MM, IV.format(name),
            "M=4096, N=4096, K=4096", "M=40, N=50, K=70; M=64, N=64, K=128", dtype="float16",
        )
        for name in ("pre_load", "post_load", "post_pre_mixed", "post_load_two_iters", "post_load_three_iters")
    ),
    Adapter(
        "bmm", "bmm_optimized.py", "a, b: a @ b", "torch.randn(B, M, K), torch.randn(B, K, N)", "a, b: bmm(a, b)",
        "B=16, M=1024, N=1024, K=1024", "B=2, M=128, N=128, K=64; B=1, M=256, N=128, K=32", dtype="float16",
    ),
    Adapter(
        "bmm_ragged_depth", "bmm_optimized.py", "a, b: a @ b", "torch.randn(B, M, K), torch.randn(B, K, N)",
        "a, b: bmm(a, b)", "B=16, M=1024, N=1024, K=1000", "B=2, M=40, N=50, K=70; B=1, M=64, N=64, K=40",
        dtype="float16", ends="incorrect",
        why=UNDEFINED,
    ),
    Adapter(
        "bmm_of_chunks", "bmm_chunk_fwd.py",
        "a, b: a.view(B, T // 32, 32, K) @ b.view(B, T // 32, 32, K).transpose(-1, -2)",
        "torch.randn(B, T, K), torch.randn(B, T, K)", "a, b: _bmm_chunk_fwd(a, b, 32)",
        "B=16, T=4096, K=128", "B=2, T=64, K=40; B=1, T=96, K=64", dtype="float16",
    ),
    Adapter(
        "bmm_of_chunks_backward", "bmm_chunk_bwd.py",
        "a, d: (d.transpose(-1, -2) @ a.view(B, T // 32, 32, K)).reshape(B, T, K)",
        "torch.randn(B, T, K), torch.randn(B, T // 32, 32, 32)", "a, d: _bmm_chunk_bwd(a, d)",
        "B=16, T=4096, K=128", "B=2, T=64, K=40; B=1, T=96, K=64", dtype="float16",
    ),
    Adapter(
        "matrix_vector", "matrix_vector_multip.py", "a, v: a @ v", "torch.randn(M, N), torch.randn(N)",
        "a, v: mv(a, v)", "M=16384, N=4096", "M=5, N=300; M=8, N=128",
    ),
    Adapter(
        "batched_vector_matrix", "batched_vecmat_mult.py", "a, b: (a[:, None] * b).sum(-1)",
        "torch.randn(M, K), torch.randn(M, N, K)",
        """a, b:
        m, n, k = b.shape
        out = torch.zeros(m, n, device=a.device)
        batched_vecmat_kernel[(m // 4, n // 16)](a, b, m, n, k, out, block_m=4, block_n=16, block_k=16)
        return out""",
        "M=128, N=512, K=1024", "M=8, N=32, K=48; M=4, N=16, K=64",
    ),
    Adapter(
        "matmul_int8_scaled", "int_scaled_matmul.py", "a, b, s: (a.float() @ b.float()) * s",
        "torch.randint(-128, 128, (M, K), dtype=torch.int8), torch.randint(-128, 128, (K, N), dtype=torch.int8), "
        "torch.rand(M, 1)",
        """a, b, s:
        c = torch.empty(a.shape[0], b.shape[1], device=a.device)
        return int_scaled_matmul_kernel(a, b, s, c, Config(BLOCK_M=32, BLOCK_N=32, BLOCK_K=32, GROUP_M=8))""",
        "M=2048, N=2048, K=2048", "M=40, N=50, K=64; M=64, N=32, K=128",
    ),
    Adapter(
        "matmul_int8", "int_scaled_matmul.py",
        "a, b: (a.double() @ b.double()).to(torch.int32)",
        "torch.randint(-128, 128, (M, K), dtype=torch.int8), torch.randint(-128, 128, (K, N), dtype=torch.int8)",
        """a, b:
        c = torch.empty(a.shape[0], b.shape[1], device=a.device, dtype=torch.int32)
        return int_matmul_kernel(a, b, c, Config(BLOCK_M=32, BLOCK_N=32, BLOCK_K=32, GROUP_M=8))""",
        "M=2048, N=2048, K=2048", "M=40, N=50, K=70; M=64, N=32, K=128",
    ),
    Adapter(
        "linear_attention_without_mask", "attention_fwd_triton1.py",
        """q, k, v:
        c = T // 32
        q, k, v = (t.view(B, H, c, 32, D) for t in (q * D ** -0.5, k, v))
        kv = (k.transpose(-1, -2) @ v).cumsum(2)
        before = torch.cat((torch.zeros_like(kv[:, :, :1]), kv[:, :, :-1]), 2)
        return ((q @ k.transpose(-1, -2)) @ v + q @ before).view(B, H, T, D)""",
        "torch.randn(B, H, T, D), torch.randn(B, H, T, D), torch.randn(B, H, T, D)",
        "q, k, v: AttentionFunction.apply(q, k, v)",
        "B=4, H=16, T=2048, D=64", "B=1, H=2, T=96, D=32; B=1, H=1, T=64, D=16",
    ),
    Adapter(
        "causal_attention_of_sequences", "context_attn_nopad.py",
        """q, k, v, start, length, out:
        s = torch.einsum("sqhd,skhd->shqk", q.view(S, L, H, D), k.view(S, L, H, D)) * D ** -0.5
        s = s.masked_fill(torch.ones(L, L, device=q.device).triu(1) > 0, float("-inf"))
        new = torch.einsum("shqk,skhd->sqhd", s.softmax(-1), v.view(S, L, H, D)).reshape(S * L, H, D)
        inside = (torch.arange(L, device=q.device) < length[:, None]).flatten()
        return out.copy_(torch.where(inside[:, None, None], new, out))""",
        "torch.randn(S * L, H, D), torch.randn(S * L, H, D), torch.randn(S * L, H, D), torch.arange(S) * L, "
        "torch.randint(1, L + 1, (S,)), torch.zeros(S * L, H, D)",
        """q, k, v, start, length, out:
        context_attention_fwd(q, k, v, out, start, length, q.shape[0] // start.shape[0])
        return out""",
        "S=4, L=2048, H=16, D=64", "S=2, L=150, H=2, D=16; S=1, L=128, H=1, D=32", dtype="float16",
        mutates=("out",), rules=(("start", GIVEN), ("length", GIVEN)),
    ),
    Adapter(
        "decode_second_stage_in_place", "flash_decode2_llama.py",
        """length, mid, lse, out:
        inside = torch.arange(L, device=mid.device) < ((length + 15) // 16)[:, None]
        p = lse.masked_fill(~inside[:, None], float("-inf")).softmax(-1)
        return out.copy_((p[..., None] * mid).sum(2))""",
        "torch.randint(1, L * 16, (S,)), torch.randn(S, H, L, D), torch.randn(S, H, L), torch.zeros(S, H, D)",
        """length, mid, lse, out:
        flash_decode_stage2(mid, lse, length, out, 16)
        return out""",
        "S=64, H=16, L=32, D=128", "S=3, H=2, L=4, D=32; S=2, H=1, L=5, D=16", mutates=("out",),
        rules=(("length", GIVEN),),
    ),
    Adapter(
        "scores_of_paged_tokens_in_place", "token_attn_llama2.py",
        """q, k, out, place, start, length:
        at = torch.arange(L, device=q.device)
        rows = k[place.gather(1, (at + L - length[:, None]).clamp(max=L - 1))].repeat_interleave(H // K, 2)
        new = (torch.einsum("shd,snhd->hsn", q, rows) * D ** -0.5).reshape(H, S * L)
        return out.copy_(torch.where((at < length[:, None]).flatten(), new, out))""",
        "torch.randn(S, H, D), torch.randn(S * L, K, D), torch.zeros(H, S * L), torch.randperm(S * L).view(S, L), "
        "torch.arange(S) * L, torch.randint(1, L + 1, (S,))",
        """q, k, out, place, start, length:
        token_att_fwd(q, k, out, place, start, length, place.shape[1])
        return out""",
        "S=16, H=16, K=4, L=1024, D=128", "S=2, H=4, K=2, L=50, D=32; S=3, H=2, K=2, L=64, D=16", mutates=("out",),
        rules=(("place", GIVEN), ("start", GIVEN), ("length", GIVEN)),
    ),
    Adapter(
        "softmax_times_paged_values_in_place", "softmax_reducev.py",
        """x, v, out, place, start, length:
        at = torch.arange(L, device=x.device)
        p = x.view(H, S, L).masked_fill(at >= length[:, None], float("-inf")).softmax(-1)
        rows = v[place.gather(1, (at + L - length[:, None]).clamp(max=L - 1))]
        return out.copy_(torch.einsum("hsn,snhd->shd", p, rows))""",
        "torch.randn(H, S * L), torch.randn(S * L, H, D), torch.zeros(S, H, D), torch.randperm(S * L).view(S, L), "
        "torch.arange(S) * L, torch.randint(1, L + 1, (S,))",
        """x, v, out, place, start, length:
        token_softmax_reducev_fwd(x, v, out, place, start, length, place.shape[1], 0)
        return out""",
        "S=16, H=16, L=1024, D=128", "S=2, H=2, L=90, D=32; S=3, H=1, L=64, D=16", mutates=("out",),
        rules=(("place", GIVEN), ("start", GIVEN), ("length", GIVEN)),
    ),
    Adapter(
        "rope_liger_copy", "rope_transform.py",
        "q, k, cos, sin: (q * cos[None, None] + rotate(q) * sin[None, None], k * cos[None, None] + rotate(k) * sin)",
        "torch.randn(B, S, H, D).transpose(1, 2), torch.randn(B, S, K, D).transpose(1, 2), "
        "*(torch.cat((a, a), -1) for a in (torch.rand(S, D // 2), torch.rand(S, D // 2)))",
        "q, k, cos, sin: rope_forward(q.clone(), k.clone(), cos, sin)[:2]", before=ROTATE,
        rules=(("cos", GIVEN), ("sin", GIVEN)), **HEADS,
    ),
    Adapter(
        "rotary_interleaved_in_place", "rotary_emb.py",
        """q, k, cos, sin:
        def turn(x):
            a, b = x[..., 0::2], x[..., 1::2]
            c, s = cos[:, None], sin[:, None]
            first = a * c[..., 0::2] - b * s[..., 0::2]
            return torch.stack((first, a * s[..., 1::2] + b * c[..., 1::2]), -1).flatten(-2)
        return q.copy_(turn(q)), k.copy_(turn(k))""",
        "torch.randn(S, H, D), torch.randn(S, K, D), torch.rand(S, D), torch.rand(S, D)",
        """q, k, cos, sin:
        rotary_emb_fwd(q, k, cos, sin)
        return q, k""",
        "S=8192, H=32, K=8, D=128", "S=20, H=5, K=2, D=32; S=16, H=4, K=4, D=16", mutates=("q", "k"),
    ),
    Adapter(
        "rotary_flash_attention", "rotary_transform.py",
        """x, cos, sin:
        a, b = x.chunk(2, -1)
        c, s = cos[:, None], sin[:, None]
        return torch.cat((a * c - b * s, a * s + b * c), -1)""",
        "torch.randn(B, S, H, D), torch.rand(S, D // 2), torch.rand(S, D // 2)",
        "x, cos, sin: apply_rotary(x, cos, sin)", "B=4, S=2048, H=16, D=128",
        "B=2, S=20, H=3, D=32; B=1, S=8, H=2, D=64",
        ends="incorrect",
        why="wrong in the original: adds the sequence length to the offset (`seqlen_offsets += seqlen`): cos and sin "
        "lie beyond the table, so nothing is rotated",
    ),
    Adapter(
        "conv2d", "triton_conv2d_fwd.py", "x, w: F.conv2d(x, w)", "torch.randn(B, C, H, H), torch.randn(O, C, 3, 3)",
        "x, w: conv2d_forward(x, w, 3, 3, 1, 1, 0, 0, 1)",
        "B=16, C=64, O=64, H=66", "B=2, C=32, O=32, H=10; B=1, C=64, O=32, H=10",
        ends="passed",
    ),
    Adapter(
        "conv2d_padded", "triton_conv2d_fwd.py", "x, w: F.conv2d(x, w, padding=1)",
        "torch.randn(B, C, H, H), torch.randn(O, C, 3, 3)",
        "x, w: conv2d_forward(x, w, 3, 3, 1, 1, 1, 1, 1)",
        "B=16, C=64, O=64, H=64", "B=1, C=32, O=32, H=8; B=1, C=20, O=24, H=6",
        ends="incorrect", why=UNDEFINED,
    ),
    Adapter(
        "recurrence_rwkv6", "fused_rwkv6_kernel.py",
        """q, k, v, w, u:
        state = torch.zeros(B, H, D, D, device=q.device, dtype=q.dtype)
        outs = []
        for t in range(T):
            kv = k[:, :, t, :, None] * v[:, :, t, None]
            outs.append(((state + kv * u[None, :, :, None]) * (q[:, :, t, :, None] * D ** -0.5)).sum(2))
            state = state * w[:, :, t, :, None].exp() + kv
        return torch.stack(outs, 2)[None]""",
        "torch.randn(B, H, T, D), torch.randn(B, H, T, D), torch.randn(B, H, T, D), -torch.rand(B, H, T, D), "
        "torch.randn(H, D)",
        """q, k, v, w, u:
        b, h, t, d = q.shape
        o = q.new_empty(1, b, h, t, d)
        fused_recurrent_rwkv6_fwd_kernel[(1, 1, b * h)](
            q, k, v, w, u, o, None, None, k.stride(1), v.stride(1), d ** -0.5, B=b, H=h, T=t, K=d, V=d, BK=d, BV=d,
            USE_INITIAL_STATE=False, STORE_FINAL_STATE=False, REVERSE=False, num_warps=1, num_stages=1)
        return o""",
        "B=4, H=16, T=64, D=32", "B=1, H=2, T=6, D=16; B=2, H=1, T=5, D=8",
    ),
)
