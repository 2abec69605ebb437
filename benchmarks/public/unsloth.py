"""Kernels of unsloth: norms, gated activations with their gradients, rotary embeddings, cross entropy."""

from public.adapter import Adapter, Repository

from kopt.model.problem import InputRule, Keep, Layout

TABLES = (("cos", InputRule(keep=Keep.AS_GIVEN)), ("sin", InputRule(keep=Keep.AS_GIVEN)))
"""The halves of a row of cos and sin are equal."""

STUBS = """
from contextlib import nullcontext
from triton.language.extra import libdevice

triton_tanh = libdevice.tanh
triton_cast = tl.cast
next_power_of_2 = triton.next_power_of_2
DEVICE_COUNT = 1
def is_cdna(): return False
def torch_gpu_device(device): return nullcontext()
"""
"""Source text in place of unsloth's queries of the device and of library versions."""

ROWS = {"main": "M=4096, N=4096", "small": "M=5, N=300; M=4, N=512"}
GATED = {"main": "B=4, M=2048, N=8192", "small": "B=2, M=3, N=300; B=1, M=4, N=512"}
FLAT = {"main": "M=8192, N=8192", "small": "M=5, N=300; M=4, N=512"}
HEADS = {"main": "B=4, S=2048, H=16, K=4, D=128", "small": "B=2, S=5, H=6, K=2, D=32; B=1, S=3, H=4, K=2, D=16"}
ROTATE = "def rotate(x):\n    a, b = x.chunk(2, -1)\n    return torch.cat((-b, a), -1)\n"
HALVES = "*(torch.cat((a, a), -1) for a in (torch.rand(S, D // 2), torch.rand(S, D // 2)))"
TURNED = "(q * cos + rotate(q) * sin, k * cos + rotate(k) * sin)"

# a table: with one argument a line it would be three times as long
# fmt: off
ADAPTERS = (
    Adapter(
        "rms_layernorm", "rms_layernorm.py", "x, w: F.rms_norm(x, (N,), w, 1e-6)", "torch.randn(M, N), torch.randn(N)",
        "x, w: Fast_RMS_Layernorm.apply(x, w, 1e-6, False)", **ROWS,
    ),
    Adapter(
        "rms_layernorm_gemma", "rms_layernorm.py",
        "x, w: (F.rms_norm(x.float(), (N,), None, 1e-6) * (w.float() + 1)).to(x.dtype)",
        "torch.randn(M, N), torch.randn(N)", "x, w: Fast_RMS_Layernorm.apply(x, w, 1e-6, True)",
        dtype="bfloat16", **ROWS,
    ),
    Adapter(
        "rms_layernorm_backward_in_place", "rms_layernorm.py",
        """dy, x, w, r:
        normed = x * r[:, None]
        g = dy * w
        return dy.copy_(r[:, None] * (g - normed * (g * normed).mean(-1, keepdim=True)))""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(N), torch.rand(M) + 0.5",
        """dy, x, w, r:
        m, n = x.shape
        block, warps = calculate_settings(n)
        _rms_layernorm_backward[(m,)](
            dy, dy.stride(0), dy, dy.stride(0), x, x.stride(0), w, w.stride(0), r, r.stride(0), n, 1e-6, GEMMA=False,
            BLOCK_SIZE=block, num_warps=warps)
        return dy""", mutates=("dy",), **ROWS,
    ),
    Adapter(
        "layernorm", "layernorm.py", "x, w, b: F.layer_norm(x, (N,), w, b, 1e-5)",
        "torch.randn(M, N), torch.randn(N), torch.randn(N)", "x, w, b: Fast_Layernorm.apply(x, w, b, 1e-5)", **ROWS,
    ),
    Adapter(
        "layernorm_float16", "layernorm.py", "x, w, b: F.layer_norm(x, (N,), w, b, 1e-5)",
        "torch.randn(M, N), torch.randn(N), torch.randn(N)", "x, w, b: Fast_Layernorm.apply(x, w, b, 1e-5)",
        dtype="float16", **ROWS,
    ),
    Adapter(
        "swiglu", "swiglu.py", "e, g: F.silu(e.float()).to(g.dtype) * g", "torch.randn(B, M, N), torch.randn(B, M, N)",
        "e, g: swiglu_fg_kernel(e, g)", dtype="bfloat16", **GATED,
    ),
    Adapter(
        "swiglu_backward_in_place", "swiglu.py",
        """d, e, g:
        s = torch.sigmoid(e)
        f = s * e
        h, df, de = f * g, d * f, d * g * s * (1 + e * (1 - s))
        return d.copy_(h), e.copy_(df), g.copy_(de)""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(M, N)",
        "d, e, g: swiglu_DWf_DW_dfg_kernel(d, e, g)", mutates=("d", "e", "g"), **FLAT,
    ),
    Adapter(
        "geglu_exact", "geglu.py", "e, g: F.gelu(e) * g", "torch.randn(B, M, N), torch.randn(B, M, N)",
        "e, g: geglu_exact_forward_kernel(e, g)", **GATED,
    ),
    Adapter(
        "geglu_exact_backward_in_place", "geglu.py",
        """d, e, g:
        part = 0.5 * (torch.erf(e / 2 ** 0.5) + 1)
        f = part * e
        h, df = f * g, d * f
        de = d * g * (part + 0.3989422804014327 * e * torch.exp(-0.5 * e * e))
        return d.copy_(h), e.copy_(df), g.copy_(de)""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(M, N)",
        "d, e, g: geglu_exact_backward_kernel(d, e, g)", mutates=("d", "e", "g"), **FLAT,
    ),
    Adapter(
        "geglu_approx", "geglu.py", "e, g: F.gelu(e, approximate='tanh') * g",
        "torch.randn(B, M, N), torch.randn(B, M, N)", "e, g: geglu_approx_forward_kernel(e, g)", dtype="float16",
        **GATED,
    ),
    Adapter(
        "rope", "rope_embedding.py", f"q, k, cos, sin: {TURNED}",
        f"torch.randn(B, H, S, D), torch.randn(B, K, S, D), {HALVES}",
        """q, k, cos, sin:
        turn = lambda x: Fast_RoPE_Embedding.apply(x.transpose(1, 2).contiguous(), cos, sin).transpose(1, 2)
        return turn(q), turn(k)""", before=ROTATE, layout=Layout.ANY, rules=TABLES, **HEADS,
    ),
    Adapter(
        "rope_one_in_place", "rope_embedding.py", "q, cos, sin: q.copy_(q * cos[:, None] + rotate(q) * sin[:, None])",
        f"torch.randn(B, S, H, D), {HALVES}", "q, cos, sin: Fast_RoPE_Embedding.apply(q, cos, sin)",
        before=ROTATE, mutates=("q",), rules=TABLES, **HEADS,
    ),
    Adapter(
        "rope_by_index_in_place", "rope_embedding.py",
        """q, k, cos, sin, at:
        cos, sin = cos[at][:, None], sin[at][:, None]
        return q.copy_(q * cos + rotate(q) * sin), k.copy_(k * cos + rotate(k) * sin)""",
        f"torch.randn(B, H, S, D), torch.randn(B, K, S, D), {HALVES}, "
        "torch.arange(S, dtype=torch.int32).flip(0).repeat(B, 1)",
        "q, k, cos, sin, at: Fast_RoPE_Embedding_QK.apply(q, k, cos, sin, at)",
        before=ROTATE, mutates=("q", "k"), rules=TABLES, **HEADS,
    ),
    Adapter(
        "cross_entropy", "cross_entropy_loss.py", "x, label: F.cross_entropy(x, label, reduction='none')",
        "torch.randn(M, N), torch.randint(0, N, (M,))", "x, label: Fast_CrossEntropyLoss.apply(x, label, 0, 0)",
        "M=4096, N=32000", "M=5, N=300; M=4, N=512",
    ),
    Adapter(
        "cross_entropy_softcap", "cross_entropy_loss.py",
        "x, label: F.cross_entropy((30 * torch.tanh(x.float() / 30)), label, reduction='none')",
        "torch.randn(M, N), torch.randint(0, N, (M,))", "x, label: Fast_CrossEntropyLoss.apply(x, label, 30.0, 0)",
        "M=4096, N=32000", "M=5, N=300; M=4, N=512", dtype="bfloat16", ends="incorrect",
        why="wrong in the original: the columns beyond the row's end, -inf, become -30 by the soft cap and count where "
        "all logits of a row lie near -30",
    ),
    Adapter(
        "cross_entropy_backward_in_place", "cross_entropy_loss.py",
        "x, d, lse, label: x.copy_(d[:, None] * ((x - lse[:, None]).exp() - F.one_hot(label, N)))",
        "*(lambda x: (x, torch.randn(M), x.logsumexp(-1)))(torch.randn(M, N)), torch.randint(0, N, (M,))",
        """x, d, lse, label:
        m, n = x.shape
        _cross_entropy_backward[(m, triton.cdiv(n, 256))](
            x, x.stride(0), d, d.stride(0), lse, label, VOCAB_SIZE=n, BLOCK_SIZE=256, DO_SOFTCAPPING=False, SOFTCAP=0,
            DO_LOGIT_SCALING=False, LOGIT_SCALE=0, num_warps=8)
        return x""",
        "M=4096, N=32000", "M=5, N=300; M=4, N=512", mutates=("x",),
    ),
)

REPOSITORY = Repository("unsloth", "unsloth/kernels", ADAPTERS, stubs=STUBS)
