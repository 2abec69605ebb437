"""Kernels of Liger-Kernel: norms, activations, losses, rotary embeddings."""

from public.adapter import Adapter, Repository

from kopt.model.problem import InputRule, Keep

GIVEN = InputRule(keep=Keep.AS_GIVEN)
TABLES = (("cos", GIVEN), ("sin", GIVEN))
"""The halves of a row of cos and sin are equal."""

STUBS = """
from contextlib import nullcontext

def infer_device(): return "cuda"
def infer_device_arch(): return "hopper"
def is_hip(): return False
def is_npu_available(): return False
def compare_version(package, operator, target): return True
def device_context(device): return nullcontext()
"""
"""Source text in place of Liger-Kernel's queries of the device."""

ROWS = {"main": "M=4096, N=4096", "small": "M=5, N=300; M=4, N=512"}
LOSS = {"main": "M=4096, N=32000", "small": "M=5, N=300; M=4, N=512"}
HEADS = {"main": "B=4, S=2048, H=16, K=4, D=128", "small": "B=2, S=5, H=4, K=2, D=32; B=1, S=3, H=3, K=1, D=16"}
ROTATE = "def rotate(x):\n    a, b = x.chunk(2, -1)\n    return torch.cat((-b, a), -1)\n"
TO_PROBABILITY = "torch.randn(M, N).softmax(-1)"
LOG = "torch.randn(M, N).log_softmax(-1)"

# a table: with one argument a line it would be three times as long
# fmt: off
ADAPTERS = (
    Adapter(
        "rms_norm_llama", "liger_kernel/ops/rms_norm.py",
        "x, w: F.rms_norm(x, (N,), w, 1e-6)", "torch.randn(M, N), torch.randn(N)",
        "x, w: rms_norm_forward(x, w, 1e-6, 0.0, 'llama', None)[0]", **ROWS,
    ),
    Adapter(
        "rms_norm_gemma", "liger_kernel/ops/rms_norm.py",
        "x, w: (F.rms_norm(x.float(), (N,), None, 1e-6) * (1 + w.float())).to(x.dtype)",
        "torch.randn(M, N), torch.randn(N)",
        "x, w: rms_norm_forward(x, w, 1e-6, 1.0, 'gemma', None)[0]", dtype="bfloat16", **ROWS,
    ),
    Adapter(
        "rms_norm_block", "liger_kernel/ops/rms_norm.py",
        "x, w: F.rms_norm(x, (N,), w, 1e-6)", "torch.randn(M, N), torch.randn(N)",
        """x, w:
        y, rstd = torch.empty_like(x), torch.empty(x.shape[0], device=x.device)
        _block_rms_norm_forward_kernel[(triton.cdiv(x.shape[0], 16),)](
            y, y.stride(0), x, x.stride(0), w, w.stride(0), rstd, rstd.stride(0), *x.shape, 1e-6, 0.0,
            _CASTING_MODE_LLAMA.value, elementwise_affine=True, BLOCK_SIZE=triton.next_power_of_2(x.shape[1]),
            BLOCK_ROW=16, num_warps=4)
        return y""",
        "M=65536, N=256", "M=35, N=100; M=32, N=128",
    ),
    Adapter(
        "rms_norm_with_rstd", "liger_kernel/ops/rms_norm.py",
        """x, w:
        rstd = (x.float().pow(2).mean(-1) + 1e-6).rsqrt()
        return F.rms_norm(x, (N,), w, 1e-6), rstd""",
        "torch.randn(M, N), torch.randn(N)",
        "x, w: rms_norm_forward(x, w, 1e-6, 0.0, 'llama', None)[0:3:2]", **ROWS,
    ),
    Adapter(
        "rms_norm_backward_partial", "liger_kernel/ops/rms_norm.py",
        """dy, x, w, rstd:
        normed = x * rstd[:, None]
        g = dy * w
        return rstd[:, None] * (g - normed * (g * normed).mean(-1, keepdim=True))""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(N), torch.rand(M) + 0.5",
        """dy, x, w, rstd:
        m, n = x.shape
        dx = torch.empty_like(dy)
        sms = torch.cuda.get_device_properties(x.device).multi_processor_count
        dw = torch.empty((sms, n), device=x.device)
        block, warps = calculate_settings(n)
        _rms_norm_backward_kernel[(sms,)](
            dy, dy.stride(0), dx, dx.stride(0), x, x.stride(0), torch_to_triton_dtype[x.dtype], w, w.stride(0),
            rstd, rstd.stride(0), dw, dw.stride(0), m, n, 0.0, math.ceil(m / sms), _CASTING_MODE_LLAMA.value,
            elementwise_affine=True, BLOCK_SIZE=block, num_warps=warps)
        return dx""",
        stubs="import math\n", **ROWS,
    ),
    Adapter(
        "layer_norm", "liger_kernel/ops/layer_norm.py",
        "x, w, b: F.layer_norm(x, (N,), w, b, 1e-6)", "torch.randn(M, N), torch.randn(N), torch.randn(N)",
        "x, w, b: layer_norm_forward(x, w, b, 1e-6)[0]", **ROWS,
    ),
    Adapter(
        "layer_norm_bfloat16", "liger_kernel/ops/layer_norm.py",
        "x, w, b: F.layer_norm(x, (N,), w, b, 1e-6)", "torch.randn(M, N), torch.randn(N), torch.randn(N)",
        "x, w, b: layer_norm_forward(x, w, b, 1e-6)[0]", dtype="bfloat16", **ROWS,
    ),
    Adapter(
        "layer_norm_statistics", "liger_kernel/ops/layer_norm.py",
        """x, w, b:
        rstd = (x.var(-1, unbiased=False) + 1e-6).rsqrt()
        return F.layer_norm(x, (N,), w, b, 1e-6), x.mean(-1), rstd""",
        "torch.randn(M, N), torch.randn(N), torch.randn(N)",
        """x, w, b:
        y, _, mean, rstd, _, _ = layer_norm_forward(x, w, b, 1e-6)
        return y, mean, rstd""", **ROWS,
    ),
    Adapter(
        "group_norm", "liger_kernel/ops/group_norm.py",
        "x, w, b: F.group_norm(x, 4, w, b, 1e-6)", "torch.randn(B, C, N), torch.randn(C), torch.randn(C)",
        "x, w, b: group_norm_forward(x, x.shape[1], 4, w, b, 1e-6)[0]",
        "B=32, C=64, N=4096", "B=2, C=8, N=100; B=1, C=12, N=64",
    ),
    Adapter(
        "fused_add_rms_norm", "liger_kernel/ops/fused_add_rms_norm.py",
        """x, r, w:
        s = x + r
        return F.rms_norm(s, (N,), w, 1e-6), s""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(N)",
        "x, r, w: fused_add_rms_norm_forward(x, r, w, 1e-6, 0.0, 'llama')[:2]", **ROWS,
    ),
    Adapter(
        "modulated_rms_norm", "liger_kernel/ops/modulated_rms_norm.py",
        """x, w, scale, shift:
        rows = N and M // 2
        one = lambda t: t.repeat_interleave(rows, 0)
        return F.rms_norm(x, (N,), w, 1e-6) * (1 + one(scale)) + one(shift)""",
        "torch.randn(M, N), torch.randn(N), torch.randn(2, N), torch.randn(2, N)",
        "x, w, scale, shift: modulated_rms_norm_forward(x, w, scale, shift, 1e-6, 0.0, 'llama')[0]",
        "M=4096, N=4096", "M=6, N=300; M=4, N=512",
    ),
    Adapter(
        "poly_norm", "liger_kernel/ops/poly_norm.py",
        """x, w, b:
        norm = lambda t: t * (t.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
        return w[0] * norm(x ** 3) + w[1] * norm(x ** 2) + w[2] * norm(x) + b""",
        "torch.randn(M, N), torch.randn(3), torch.randn(1)",
        "x, w, b: poly_norm_forward(x, w, b, 1e-6)[0]", **ROWS,
    ),
    Adapter(
        "dyt", "liger_kernel/ops/dyt.py",
        "x, alpha, gamma, beta: torch.tanh(alpha * x) * gamma + beta",
        "torch.randn(M, N), torch.randn(1), torch.randn(N), torch.randn(N)",
        "x, alpha, gamma, beta: liger_dyt_fwd(x, alpha, gamma, beta)", **ROWS,
    ),
    Adapter(
        "dyt_backward_partial", "liger_kernel/ops/dyt.py",
        "dy, x, alpha, gamma: dy * gamma * alpha * (1 - torch.tanh(alpha * x) ** 2)",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(1), torch.randn(N)",
        """dy, x, alpha, gamma:
        m, n = x.shape
        sms = torch.cuda.get_device_properties(x.device).multi_processor_count
        da = torch.zeros(sms, triton.cdiv(n, 512), device=x.device)
        dg = torch.empty(sms, n, device=x.device)
        dx = torch.empty_like(dy)
        grid = lambda meta: (triton.cdiv(n, meta["BLOCK_N"]), sms)
        _dyt_bwd_kernel[grid](dy, dx, da, dg, None, x, alpha, gamma, False, m, n)
        return dx""", **ROWS,
    ),
    Adapter(
        "swiglu", "liger_kernel/ops/swiglu.py", "a, b: F.silu(a) * b", "torch.randn(M, N), torch.randn(M, N)",
        "a, b: swiglu_forward(a, b)[2]", dtype="bfloat16", **ROWS,
    ),
    Adapter(
        "swiglu_tiled", "liger_kernel/ops/swiglu.py", "a, b: F.silu(1.5 * a) * b",
        "torch.randn(M, N), torch.randn(M, N)",
        """a, b:
        m, n = a.shape
        c = torch.empty_like(a)
        _swiglu_forward_kernel_tiled[(m, triton.cdiv(n, 256))](a, b, c, c.stride(0), 1.5, n, BLOCK_SIZE=256)
        return c""", **ROWS,
    ),
    Adapter(
        "swiglu_backward_in_place", "liger_kernel/ops/swiglu.py",
        """a, b, dc:
        s = torch.sigmoid(a)
        da = dc * b * (s * (1 + a * (1 - s)))
        b.copy_(dc * a * s)
        a.copy_(da)
        return a, b""",
        "torch.randn(M, N), torch.randn(M, N), torch.randn(M, N)",
        "a, b, dc: swiglu_backward(a, b, dc)", mutates=("a", "b"), **ROWS,
    ),
    Adapter(
        "swiglu_gate_up", "liger_kernel/ops/swiglu.py", "y: F.silu(y[:, :N]) * y[:, N:]", "torch.randn(M, 2 * N)",
        "y: swiglu_fused_gate_up_forward(y)[1]", **ROWS,
    ),
    Adapter(
        "swiglu_gate_up_backward", "liger_kernel/ops/swiglu.py",
        """y, dc:
        a, b = y.chunk(2, -1)
        s = torch.sigmoid(a)
        return torch.cat((dc * b * (s * (1 + a * (1 - s))), dc * a * s), -1)""",
        "torch.randn(M, 2 * N), torch.randn(M, N)", "y, dc: swiglu_fused_gate_up_backward(y, dc)", **ROWS,
    ),
    Adapter(
        "geglu", "liger_kernel/ops/geglu.py", "a, b: F.gelu(a, approximate='tanh') * b",
        "torch.randn(M, N), torch.randn(M, N)",
        "a, b: geglu_forward(a, b)[2]", **ROWS,
    ),
    Adapter(
        "relu_squared", "liger_kernel/ops/relu_squared.py", "x: F.relu(x) ** 2", "torch.randn(M, N)",
        "x: relu_squared_forward(x)", **ROWS,
    ),
    Adapter(
        "relu_squared_backward", "liger_kernel/ops/relu_squared.py", "x, dy: 2 * F.relu(x) * dy",
        "torch.randn(M, N), torch.randn(M, N)", "x, dy: relu_squared_backward(x, dy)", **ROWS,
    ),
    Adapter(
        "softmax", "liger_kernel/ops/softmax.py", "x: F.softmax(x, -1)", "torch.randn(M, N)",
        "x: _softmax_forward(x)[0]", **ROWS,
    ),
    Adapter(
        "softmax_multi_block", "liger_kernel/ops/softmax.py", "x: F.softmax(x, -1)", "torch.randn(M, N)",
        """x:
        y = torch.empty_like(x)
        _softmax_multi_block_forward_kernel[(x.shape[0],)](
            y, y.stride(0), x, x.stride(0), x.shape[1], BLOCK_SIZE=128, num_warps=8)
        return y""", ends="failed compile",
        why="wrong in the original: calls a dtype, tl.float32(-inf), which Triton 3.7 does not compile", **ROWS,
    ),
    Adapter(
        "softmax_backward", "liger_kernel/ops/softmax.py", "dy, y: y * (dy - (dy * y).sum(-1, keepdim=True))",
        f"torch.randn(M, N), {TO_PROBABILITY}",
        """dy, y:
        block, warps = calculate_settings(y.shape[1])
        return _softmax_backward(dy, y, block, warps, False)""", **ROWS,
    ),
    Adapter(
        "sparsemax_from_sorted", "liger_kernel/ops/sparsemax.py",
        """x, by_size:
        sums = by_size.cumsum(-1)
        k = torch.arange(1, N + 1, device=x.device)
        support = (1 + k * by_size > sums).sum(-1, keepdim=True)
        tau = (sums.gather(-1, support - 1) - 1) / support
        return F.relu(x - tau)""",
        "*(lambda x: (x, x.sort(-1, descending=True).values))(torch.randn(M, N))",
        """x, by_size:
        m, n = x.shape
        block, warps = calculate_settings(n)
        y = torch.empty_like(x)
        _sparsemax_forward_kernel[(m,)](
            x, x.stride(0), by_size, by_size.stride(0), y, y.stride(0), n, BLOCK_SIZE=block, num_warps=warps)
        return y""", rules=(("x", GIVEN), ("by_size", GIVEN)), **ROWS,
    ),
    Adapter(
        "kl_div_rows", "liger_kernel/ops/kl_div.py", "y, p: (p * (p.clamp(min=1e-10).log() - y)).sum(-1)",
        f"{LOG}, {TO_PROBABILITY}",
        """y, p:
        m, n = y.shape
        loss = torch.zeros(m, device=y.device)
        _kldiv_kernel_forward[(m,)](
            y, y.stride(0), p, p.stride(0), loss, loss.stride(0), n, eps=1e-10, BLOCK_SIZE=256,
            log_target=False, reduction=_REDUCTION_MODE_SUM.value)
        return loss""", **LOSS,
    ),
    Adapter(
        "kl_div_none", "liger_kernel/ops/kl_div.py", "y, p: p.exp() * (p - y)", f"{LOG}, {LOG}",
        "y, p: kldiv_forward_triton(y, p, True, 'none', 1e-10)", **LOSS,
    ),
    Adapter(
        "jsd_elements", "liger_kernel/ops/jsd.py",
        """x, y:
        p, q = y.exp(), x.exp()
        m = 0.5 * p + 0.5 * q
        return (0.5 * p * y + 0.5 * q * x - m * m.log()) / M, 0.5 * q * (x - m.log()) / M""",
        f"{LOG}, {LOG}",
        """x, y:
        m, n = x.shape
        loss, dx = torch.zeros_like(x), torch.empty_like(x)
        _jsd_kernel[(m,)](
            X_ptr=x, X_stride=x.stride(0), Y_ptr=y, Y_stride=y.stride(0), loss_ptr=loss, loss_stride=loss.stride(0),
            dX_ptr=dx, dX_stride=dx.stride(0), label_ptr=x, beta=0.5, n_non_ignore=m, ignore_index=-100, n_cols=n,
            BLOCK_SIZE=triton.next_power_of_2(n), HAS_LABEL=False)
        return loss, dx""",
        "M=4096, N=8192", "M=5, N=300; M=4, N=512",
    ),
    Adapter(
        "tvd_rows", "liger_kernel/ops/tvd.py",
        "p, q: (0.5 * (p - q).abs().sum(-1), torch.where(p > q, 0.5, -0.5).to(p.dtype))",
        f"{TO_PROBABILITY}, {TO_PROBABILITY}",
        "p, q: tv_distance_forward_triton(p, q, None, 'sum', -100, False)[0:2]", **LOSS,
        ends="failed fallback",
        why="the wrapper sums by torch",
    ),
    Adapter(
        "tvd_none", "liger_kernel/ops/tvd.py",
        "p, q: (0.5 * (p - q).abs(), torch.where(p > q, 0.5, -0.5).to(p.dtype))",
        f"{TO_PROBABILITY}, {TO_PROBABILITY}",
        "p, q: tv_distance_forward_triton(p, q, None, 'none', -100, False)", **LOSS,
    ),
    Adapter(
        "cross_entropy_with_gradient", "liger_kernel/ops/cross_entropy.py",
        """x, label:
        loss = F.cross_entropy(x, label, reduction="none")
        x.copy_(x.softmax(-1) - F.one_hot(label, N))
        return loss""",
        "torch.randn(M, N), torch.randint(0, N, (M,))",
        """x, label:
        m, n = x.shape
        loss = torch.zeros(m, dtype=x.dtype, device=x.device)
        liger_cross_entropy_kernel[(m,)](
            X_ptr=x, X_stride=x.stride(0), Y_ptr=label, Y_stride=label.stride(0), weight_ptr=None, loss_ptr=loss,
            z_loss_ptr=None, loss_stride=1, token_accuracy_ptr=None, token_accuracy_stride=0,
            predicted_tokens_ptr=None, predicted_tokens_stride=0, n_cols=n, n_non_ignore=m,
            sum_non_ignore_weight=m, ignore_index=-100, weight_sum=0.0, lse_square_scale=0.0, label_smoothing=0.0,
            reduction="none", softcap=None, RETURN_Z_LOSS=False, RETURN_TOKEN_ACCURACY=False,
            RETURN_PREDICTED_TOKENS=False, BLOCK_SIZE=256, HAS_WEIGHT=False, HAS_SOFTCAPPING=False,
            HAS_GRADIENTS=True, num_warps=8)
        return loss""", mutates=("x",), **LOSS,
    ),
    Adapter(
        "cross_entropy_smoothed", "liger_kernel/ops/cross_entropy.py",
        "x, label: F.cross_entropy(30 * torch.tanh(x / 30), label, reduction='none', label_smoothing=0.1)",
        "torch.randn(M, N), torch.randint(0, N, (M,))",
        """x, label:
        m, n = x.shape
        loss = torch.zeros(m, dtype=x.dtype, device=x.device)
        liger_cross_entropy_kernel[(m,)](
            X_ptr=x, X_stride=x.stride(0), Y_ptr=label, Y_stride=label.stride(0), weight_ptr=None, loss_ptr=loss,
            z_loss_ptr=None, loss_stride=1, token_accuracy_ptr=None, token_accuracy_stride=0,
            predicted_tokens_ptr=None, predicted_tokens_stride=0, n_cols=n, n_non_ignore=m,
            sum_non_ignore_weight=m, ignore_index=-100, weight_sum=0.0, lse_square_scale=0.0, label_smoothing=0.1,
            reduction="none", softcap=30.0, RETURN_Z_LOSS=False, RETURN_TOKEN_ACCURACY=False,
            RETURN_PREDICTED_TOKENS=False, BLOCK_SIZE=1024, HAS_WEIGHT=False, HAS_SOFTCAPPING=True,
            HAS_GRADIENTS=False, num_warps=8)
        return loss""", ends="incorrect",
        why="wrong in the original: the columns beyond the row's end, -inf, become -30 by the soft cap and count where "
        "all logits of a row lie at -30", **LOSS,
    ),
    Adapter(
        "selective_log_softmax", "liger_kernel/ops/grpo_loss.py",
        "x, ids: (x[:, :-1] / 0.9).log_softmax(-1).gather(-1, ids[..., None])[..., 0]",
        "torch.randn(B, S + 1, N), torch.randint(0, N, (B, S))",
        "x, ids: fused_selective_log_softmax(x, ids, 0.9)",
        "B=4, S=512, N=32000", "B=2, S=3, N=300; B=1, S=4, N=128",
    ),
    Adapter(
        "embedding", "liger_kernel/ops/experimental/embedding.py", "w, ids: F.embedding(ids, w)",
        "torch.randn(V, N), torch.randint(0, V, (B, S))", "w, ids: LigerEmbeddingFunction.apply(w, ids)",
        "V=32000, B=4, S=2048, N=1024", "V=50, B=2, S=9, N=96; V=20, B=1, S=40, N=32",
    ),
    Adapter(
        "rope", "liger_kernel/ops/rope.py",
        "q, k, cos, sin: (q * cos[:, None] + rotate(q) * sin[:, None], k * cos[:, None] + rotate(k) * sin[:, None])",
        "torch.randn(B, S, H, D).transpose(1, 2), torch.randn(B, S, K, D).transpose(1, 2), "
        "*(torch.cat((a, a), -1) for a in (torch.rand(1, S, D // 2), torch.rand(1, S, D // 2)))",
        "q, k, cos, sin: rope_forward(q.clone(), k.clone(), cos, sin)[:2]", before=ROTATE, rules=TABLES, **HEADS,
    ),
    Adapter(
        "llama4_rope_in_place", "liger_kernel/ops/llama4_rope.py",
        """q, k, f:
        def turn(x):
            re, im = x[..., 0::2], x[..., 1::2]
            c, s = f[None, :, None, :, 0], f[None, :, None, :, 1]
            return torch.stack((re * c - im * s, re * s + im * c), -1).flatten(-2)
        return q.copy_(turn(q)), k.copy_(turn(k))""",
        "torch.randn(B, S, H, D), torch.randn(B, S, K, D), torch.randn(S, D // 2, 2)",
        "q, k, f: llama4_rope_forward(q, k, f)", mutates=("q", "k"), **HEADS,
    ),
    Adapter(
        "qwen2vl_mrope", "liger_kernel/ops/qwen2vl_mrope.py",
        """q, k, cos, sin:
        half = D // 2
        parts = [half // 4, half // 4, half // 2]
        pick = lambda t: torch.cat([p[i % 3] for i, p in enumerate(t.split(parts * 2, -1))], -1)[:, None]
        c, s = pick(cos), pick(sin)
        return q * c + rotate(q) * s, k * c + rotate(k) * s""",
        "torch.randn(B, S, H, D).transpose(1, 2), torch.randn(B, S, K, D).transpose(1, 2), "
        "*(torch.cat((a, a), -1) for a in (torch.rand(3, B, S, D // 2), torch.rand(3, B, S, D // 2)))",
        """q, k, cos, sin:
        half = q.shape[-1] // 2
        return qwen2vl_mrope_forward(q.clone(), k.clone(), cos, sin, [half // 4, half // 4])[:2]""",
        before=ROTATE, rules=TABLES, **HEADS,
    ),
    Adapter(
        "attention_residual", "liger_kernel/ops/attn_res.py",
        """v, q, w:
        k = v * (v.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * w
        return ((k @ q).softmax(0)[..., None] * v).sum(0)""",
        "torch.randn(A, M, N), torch.randn(N), torch.randn(N)", "v, q, w: attn_res_forward(v, q, w)[0]",
        "A=6, M=4096, N=2048", "A=3, M=5, N=100; A=5, M=2, N=64",
    ),
    Adapter(
        "mhc_pre", "liger_kernel/ops/mhc.py", "x, h: (x * h[..., None]).sum(1)",
        "torch.randn(M, H, N), torch.rand(M, H)",
        "x, h: mhc_pre_fwd(x, h)", "M=4096, H=4, N=2048", "M=35, H=4, N=150; M=3, H=2, N=128",
    ),
    Adapter(
        "mhc_post_res", "liger_kernel/ops/mhc.py",
        "x, f, post, res: post[..., None] * f[:, None] + torch.einsum('nij,njc->nic', res, x)",
        "torch.randn(M, H, N), torch.randn(M, N), torch.rand(M, H), torch.rand(M, H, H)",
        "x, f, post, res: mhc_post_res_fwd(x, f, post, res)",
        "M=4096, H=4, N=2048", "M=35, H=4, N=150; M=3, H=2, N=128",
    ),
)

REPOSITORY = Repository("Liger-Kernel", "src", ADAPTERS, stubs=STUBS)
