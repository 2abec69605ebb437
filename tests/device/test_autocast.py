"""`torch.autocast` in a reference means on the CPU and on meta tensors what torch's own means on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kopt.device.build.stub_gpu import CUDA, pretend
from kopt.device.reference.elsewhere import policy
from kopt.device.reference.forward import call
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

torch.set_num_threads(1)  # other tests fork this process

DEVICE = load_device("h100", Path(__file__).parents[2])
SMALL = Workload(name="small")

SOURCE = """
import torch
from torch import nn
import torch.nn.functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.groups = nn.GroupNorm(2, 4)
        self.batch = nn.BatchNorm2d(3)
        self.lstm, self.gru, self.rnn = nn.LSTM(8, 8), nn.GRU(8, 8), nn.RNN(8, 8)
        self.lstm_cell, self.gru_cell = nn.LSTMCell(8, 8), nn.GRUCell(8, 8)
        self.prelu = nn.PReLU()
        self.bilinear = nn.Bilinear(8, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.short = nn.Linear(8, 8, dtype=torch.bfloat16)

    def forward(self, x, w, h, i, k, q, n, d):
{body}

def get_inputs():
    return [torch.rand(8, 8) + 0.5, torch.randn(8, 8), torch.rand(8, 8).to(torch.{dtype}), torch.randn(2, 3, 6, 6),
            torch.randn(4, 3, 3, 3), torch.randn(1, 2, 8, 8), torch.arange(8), torch.rand(8, 8, dtype=torch.float64)]

def get_init_inputs():
    return []
"""

REGION = "with torch.autocast('cuda', dtype=torch.{dtype}):"

EXPRESSIONS = """
    self.linear(x); self.linear(q); self.linear(h); x @ w; x @ h; h @ h; x.mm(w); q @ q; q[0].bmm(q[0]); x.mv(w[0]);
    torch.einsum('ij,kj->ik', x, w); torch.einsum('bhij,bhkj->bhik', q, q); torch.addmm(w, x, w);
    torch.baddbmm(q[0], q[0], q[0]); torch.linalg.vecdot(x, w); torch.linalg.multi_dot([x, w, x]);
    x.addr(w[0], w[1]); torch.chain_matmul(x, w); torch.tensordot(x, w, 1); torch.tensordot(h, w, 1);
    torch.tensordot(h, h, 1); torch.kron(x, w); F.conv2d(i, k); F.conv1d(i[:, :, 0], k[:, :, 0]);
    F.conv_transpose2d(i, k.transpose(0, 1)); F.scaled_dot_product_attention(q, q, q);
    F.scaled_dot_product_attention(q, q, q, attn_mask=x); F.scaled_dot_product_attention(q, q, q, is_causal=True);
    self.attention(q[0], q[0], q[0]); self.layer(q[0]); self.lstm(x[None]); self.rnn(x[None]); self.lstm_cell(x);
    self.prelu(x); self.bilinear(x, w); self.short(h); self.short(x); torch.softmax(h, -1); h.softmax(-1);
    F.softmax(x, -1); F.softmax(h, -1, dtype=torch.bfloat16); F.log_softmax(h, -1); F.softmin(h, -1); self.norm(x);
    self.norm(h); F.layer_norm(h, (8,)); F.rms_norm(h, (8,)); F.rms_norm(h, (8,), w[0]);
    self.groups(i[:, :1].expand(2, 4, 6, 6)); F.group_norm(h[None], 2); self.batch(i); self.batch(i.to(h.dtype));
    F.instance_norm(i.to(h.dtype)); F.normalize(h); h.norm(); h.norm(dim=1); h.norm(p=1, dim=1, keepdim=True);
    torch.linalg.norm(h); torch.linalg.vector_norm(h); torch.linalg.norm(h, dim=1); torch.norm(h, 2);
    torch.norm(h, dtype=torch.float32); F.gelu(h); F.silu(h); F.relu(h); F.glu(h); torch.tanh(h); torch.sigmoid(h);
    F.softplus(h); F.mish(h); F.elu(h); h.sum(); h.sum(-1); h.sum(-1, dtype=torch.bfloat16); h.mean(); h.mean(-1);
    h.var(-1); h.std(); h.prod(); h.prod(1); h.cumsum(0); h.cumprod(0); torch.cumsum(n, 0); n.sum(); h.logsumexp(1);
    torch.logcumsumexp(h, 0); h.amax(-1); h.max(1); h.exp(); h.expm1(); h.log(); h.log1p(); h.log2(); h.sqrt();
    h.rsqrt(); h.reciprocal(); h.sin(); h.tan(); h.sinh(); h.acos(); h.erf(); h.abs(); h.pow(2); h ** 2; h ** h;
    2 ** h; h ** 0.5; h.square(); 1 / h; torch.dist(h, h); torch.cdist(h, h); F.cosine_similarity(h, h);
    F.pairwise_distance(h, h); h.renorm(2, 0, 1.0); h + x; h * x; h - 1; torch.cat([h, x]); torch.stack([h, h]);
    torch.stack([h, x]); torch.where(h > 0, h, x); torch.where(h > 0, h, 0.0); torch.addcmul(h, h, h);
    torch.addcmul(h, h, x); torch.addcdiv(x, h, h); torch.atan2(h, x); torch.atan2(h, h); h[0].dot(h[1]);
    x[0].dot(w[1]); h[0].dot(x[1]); torch.cross(h[:, :3], x[:, :3], dim=1); torch.lerp(h, h, 0.5);
    torch.maximum(h, x); h.clamp(0, 1); h.scatter_add(0, n[None].expand(8, 8), x); x.index_put((n,), w);
    h.index_put((n,), w); x.index_add(0, n, w); x.gather(0, n[None]); F.embedding(n, h);
    F.grid_sample(i, q[:, :, :, :2].expand(2, 2, 8, 2)); F.interpolate(i.to(h.dtype), scale_factor=2);
    F.interpolate(i.to(h.dtype), scale_factor=2, mode='bilinear'); F.avg_pool2d(i.to(h.dtype), 2);
    F.max_pool2d(i.to(h.dtype), 2); F.adaptive_avg_pool2d(i.to(h.dtype), 1); F.pad(h, (1, 1));
    F.avg_pool3d(i[None].to(h.dtype), 2); F.cross_entropy(h, n); F.cross_entropy(h, h);
    F.cross_entropy(h, n, label_smoothing=0.1); F.nll_loss(h, n); F.mse_loss(h, h); F.mse_loss(h, x);
    F.l1_loss(h, h); F.smooth_l1_loss(h, h); F.huber_loss(h, h); F.kl_div(h, h);
    F.binary_cross_entropy_with_logits(h, h); F.hinge_embedding_loss(h, h); F.margin_ranking_loss(h, h, h);
    F.triplet_margin_loss(h, h, h); F.cosine_embedding_loss(h, h, n); F.poisson_nll_loss(h, h);
    F.soft_margin_loss(h, h); F.dropout(h, 0.5, False); h.view(torch.int16); h.to(torch.float32); h.float() @ w;
    x.half() @ w; h.topk(2); h.sort(); d @ d; d.exp(); d.softmax(-1); d.sum(); d + h; n.float() @ w; n.exp();
    n.softmax(0, dtype=torch.float32); n.pow(2); torch.zeros(3) + h[0, :3]; torch.full((8,), 0.5) @ w;
    torch.mul(h, 2); torch.std_mean(h); torch.vdot(h[0], x[0]); torch.outer(h[0], h[1]);
    torch.linalg.matrix_norm(h);
"""
"""Expressions of a region: x, w and others are float32, h has the region's type, d float64, n integers."""

BODIES = {
    "nested": """
        {region}
            y = x @ w
            with torch.autocast('cuda', enabled=False):
                z = x @ w
                z = z.softmax(-1)
            with torch.autocast('cuda', dtype=torch.float16):
                u = x @ w
            v = x @ w
        return y, z, u, v, x @ w
    """,
    "enabled in disabled": """
        with torch.autocast('cuda', enabled=False):
            {region}
                y = x @ w, h.sum()
            z = x @ w
        return *y, z
    """,
    "not enabled": """
        with torch.autocast('cuda', torch.bfloat16, False):
            return x @ w, h.softmax(-1)
    """,
    "by default float16": """
        with torch.autocast('cuda'):
            return x @ w, self.linear(x)
    """,
    "torch.amp": """
        with torch.amp.autocast('cuda', dtype=torch.{dtype}):
            return x @ w, h.sum()
    """,
    "torch.cuda.amp": """
        with torch.cuda.amp.autocast(dtype=torch.{dtype}):
            return x @ w, h.sum()
    """,
    "torch.cuda.amp by default": """
        with torch.cuda.amp.autocast():
            return x @ w, h.sum()
    """,
    "of the tensor's device": """
        with torch.autocast(x.device.type, dtype=torch.{dtype}):
            return x @ w, h.sum()
    """,
    "by name": """
        with torch.autocast(device_type='cuda', dtype=torch.{dtype}, enabled=True, cache_enabled=False):
            return x @ w
    """,
    "decorator": """
        @torch.autocast('cuda', dtype=torch.{dtype})
        def run(x):
            return x @ w
        return run(x), run(x), x @ w
    """,
    "recursive": """
        @torch.autocast('cuda', dtype=torch.{dtype})
        def run(x, left):
            y = x @ w
            return (run(x, left - 1), y) if left else y
        return run(x, 2), x @ w
    """,
    "behind": """
        {region}
            y = x @ w
        return y, y.softmax(-1), y.float() @ w, y.sum(), y + x
    """,
    "left by an error": """
        try:
            {region}
                x @ w
                raise ValueError
        except ValueError:
            return x @ w, h.sum()
    """,
    "in place": """
        y = torch.zeros_like(x)
        z = torch.zeros_like(h)
        {region}
            y += x @ w
            z += h
            y.mul_(h)
            z.exp_()
            y.addmm_(x, w)
            u = h.clone()
            u[0] = x[0]
            u.index_put_((n,), h)
        return y, z, u
    """,
    "out": """
        y = torch.zeros_like(x)
        {region}
            torch.mm(x, w, out=y)
            torch.softmax(x, -1, out=y)
        return y
    """,
    "attention": """
        {region}
            a = self.linear(x) @ self.linear(w).t()
            p = torch.softmax(a * 0.5, -1)
            return a, p, p @ x, F.layer_norm(p @ x, (8,))
    """,
    "asks": """
        {region}
            on, dtype = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
            with torch.autocast('cuda', enabled=False):
                off = torch.is_autocast_enabled('cuda')
        assert on and not off and not torch.is_autocast_enabled('cuda')
        return x.to(dtype), x.to(torch.get_autocast_dtype('cuda'))
    """,
}
"""Bodies of `forward` by name."""


def problem_of(body: str, dtype: str) -> Problem:
    text = dedent(body).strip().replace("{region}", REGION).replace("{dtype}", dtype)
    lines = indent(text, " " * 8)
    source = SOURCE.replace("{body}", lines).replace("{dtype}", dtype)
    return Problem(
        name="p", reference=source, seed=Kernel(source=""), dtype=Dtype.FLOAT32, keep_dtypes=True, main=(SMALL,),
        small=(SMALL,),
    )  # fmt: skip


def types_of(value: object) -> object:
    """Return a result with the types and shapes of its tensors in their place."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape)
    return [types_of(one) for one in value] if isinstance(value, tuple | list) else value


def run(body: str, dtype: str, device: str) -> object:
    problem = problem_of(body, dtype)
    with torch.device(device):
        reference = load_reference(problem, SMALL)
        return call(make_model(reference, problem), make_inputs(reference, problem, seed=1))


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Let tensors on a GPU have no values inside the block, and torch's own regions be for them."""
    with ExitStack() as stack:
        stack.enter_context(pretend(DEVICE, lambda what: None))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(torch.device(CUDA))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # would lay weights of layers out on a real GPU
        yield


def run_on_gpu(body: str, dtype: str) -> object:
    """Run a reference on a pretended GPU by torch alone."""
    module = ModuleType("reference")
    exec(problem_of(body, dtype).reference, vars(module))
    with fake_gpu():
        torch.set_autocast_enabled("cuda", False)  # torch does not leave a region that was entered twice
        return types_of(module.Model().eval()(*(value.to(CUDA) for value in module.get_inputs())))


def types_by_device(body: str, dtype: str) -> dict[str, object]:
    return {device: types_of(run(body, dtype, device)) for device in ("meta", "cpu")}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_results_have_the_types_that_torch_gives_them_on_a_gpu(dtype: str) -> None:
    expressions = [one.strip() for one in EXPRESSIONS.split(";") if one.strip()]
    body = "{region}\n    return [" + ", ".join(expressions) + "]"
    on_gpu = run_on_gpu(body, dtype)
    assert isinstance(on_gpu, list)
    for device, found in types_by_device(body, dtype).items():
        assert isinstance(found, list)
        for expression, one, other in zip(expressions, found, on_gpu, strict=True):
            assert one == other, (device, expression)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", BODIES)
def test_regions_end_and_nest_as_on_a_gpu(name: str, dtype: str) -> None:
    on_gpu = run_on_gpu(BODIES[name], dtype)
    assert types_by_device(BODIES[name], dtype) == {"meta": on_gpu, "cpu": on_gpu}


def test_every_operation_of_torchs_own_policy_has_one() -> None:
    groups = (policy.LOWER, policy.FLOAT32, policy.FLOAT32_RESULT, set(policy.NORMS), policy.WIDEST, policy.REFUSED)
    known = set().union(*groups)
    assert sum(map(len, groups)) == len(known)
    names = {name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")}
    others = {name for name in names if policy.has_policy(name)} - known
    inside = {"_cudnn_rnn"}  # of a recurrent layer, where torch is built with CUDA
    assert {name for name in others - inside if "names" not in name.lower() and "dimname" not in name.lower()} == set()


def test_recurrent_layers_are_computed_in_the_type_of_the_region() -> None:
    body = "{region}\n    return self.gru(x[None]), self.lstm(x[None]), self.rnn(x[None]), self.gru_cell(x)"
    for device in ("cpu", "meta"):
        tensors = tensors_of(run(body, "bfloat16", device))
        assert len(tensors) == 8
        assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_gradients_pass_through_conversions(device: str) -> None:
    body = "y = x.detach().requires_grad_()\nwith torch.enable_grad():\n    {region}\n        z = F.gelu(y @ w).sum()\n"
    body += "    return z, torch.autograd.grad(z, y)[0]"
    assert types_of(run(body, "bfloat16", device)) == [(torch.float32, ()), (torch.float32, (8, 8))]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_torch_refuses_on_a_gpu_is_refused(device: str) -> None:
    with pytest.raises(ProblemError, match="refuses binary_cross_entropy on a GPU"):
        run("{region}\n    return F.binary_cross_entropy(x.sigmoid(), x.sigmoid())", "bfloat16", device)


def test_an_operation_that_the_cpu_lacks_in_16_bits_is_computed_in_float32() -> None:
    body = "{region}\n    y = F.conv2d(i, k)\n    return y, F.avg_pool3d(y[None], (1, 2, 2))"
    made = run(body, "bfloat16", "cpu")
    assert isinstance(made, tuple)
    exact = torch.nn.functional.avg_pool3d(made[0].float()[None], (1, 2, 2))
    assert torch.equal(made[1], exact.bfloat16())


def test_numbers_are_those_of_conversions_by_hand() -> None:
    region = "{region}\n    p = torch.softmax(self.linear(x) @ w, -1)\n    return p, p @ x, F.layer_norm(p @ x, (8,))"
    hand = (
        "H = torch.{dtype}\nl = F.linear(x.to(H), self.linear.weight.to(H), self.linear.bias.to(H))\n"
        "p = torch.softmax((l @ w.to(H)).float(), -1)\no = p.to(H) @ x.to(H)\n"
        "return p, o, F.layer_norm(o.float(), (8,))"
    )
    for dtype in ("bfloat16", "float16"):
        for one, other in zip(tensors_of(run(region, dtype, "cpu")), tensors_of(run(hand, dtype, "cpu")), strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_no_region_stays_when_a_reference_is_left() -> None:
    run(BODIES["recursive"], "bfloat16", "cpu")
    with pytest.raises(ProblemError):
        run("{region}\n    raise ValueError(x.dtype)", "bfloat16", "cpu")
    assert not torch.is_autocast_enabled("cuda")
    assert types_of(run("return x @ w", "bfloat16", "cpu")) == (torch.float32, (8, 8))
    assert torch.get_autocast_dtype("cuda") == torch.float16
