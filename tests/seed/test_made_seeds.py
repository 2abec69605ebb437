"""Seeds are made from references and judged like any candidate: built for an H100, then run by kopt's interpreter."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kopt.device.build.build import BuildJob, build_all
from kopt.device.interpret.contestant import VerifyJob
from kopt.device.interpret.judge import verify_all
from kopt.errors import SeedError
from kopt.load_config import load_device
from kopt.model.build import Built
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Layout, Problem, Workload
from kopt.model.verdict import Passed
from kopt.sandbox.environment import NO_GPU
from kopt.seed.make import make_seeds
from kopt.store import Store
from kopt.techniques.source import dead_kernels

H100 = load_device("h100", Path(__file__).resolve().parents[2])

SHAPED = "import torch\nfrom torch import nn\nN = 96\nM = 80\n"
FUNCTION = """
class Model(nn.Module):
    def forward(self, x):
        return {}
def get_inputs():
    return [torch.randn({})]
def get_init_inputs():
    return []
"""
MODULE = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {}
    def forward(self, x):
        return {}
def get_inputs():
    return [torch.randn({})]
def get_init_inputs():
    return []
"""

REFERENCES = {
    "softmax": FUNCTION.format("torch.softmax(x, dim=1)", "N, M"),
    "layernorm": MODULE.format("self.norm = nn.LayerNorm(M)", "self.norm(x)", "N, M"),
    "linear_relu": MODULE.format("self.up = nn.Linear(M, N)", "torch.relu(self.up(x))", "2, N, M"),
    "conv": MODULE.format("self.conv = nn.Conv2d(3, 5, 3, padding=1)", "torch.tanh(self.conv(x))", "2, 3, N, 9"),
    "least_channel": MODULE.format("self.conv = nn.Conv2d(3, 5, 3)", "self.conv(x).amin(1, True).tanh()", "2, 3, N, M"),
    "kept_scales": MODULE.format(
        "self.scale, self.share, self.inner = M**-0.5, 1 / (N * M), nn.Softplus(beta=(M / 4) ** 0.5)",
        "self.inner(x * self.scale) * self.share",
        "N, M",
    ),
    "two_outputs": FUNCTION.format("{'sum': x.sum(dim=1), 'parts': (x * 2, x.amax(dim=0))}", "N, M"),
    "loss": FUNCTION.format("torch.nn.functional.mse_loss(x, torch.zeros_like(x))", "N, M"),
    "templates": MODULE.format(
        "self.up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, bias=False)",
        "nn.functional.max_pool2d(self.up(x), 7, stride=3, padding=2)",
        "2, 3, N // 16, 7",
    ),
}
REFERENCES |= {
    "grouped": MODULE.format(
        "self.conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)", "self.conv(x).tanh()", "2, 4, N, 9"
    ),
    "depthwise": MODULE.format("self.conv = nn.Conv1d(M, M, 3, groups=M)", "self.conv(x).tanh()", "2, M, N"),
    "sorted_rows": FUNCTION.format("torch.sort(nn.functional.max_pool1d(x, 3), dim=0, descending=True)", "N, M"),
    "places": FUNCTION.format("nn.functional.max_pool2d(x, (1, 3), 1, (0, 1), return_indices=True)", "2, N, M"),
    "average": FUNCTION.format("nn.functional.avg_pool1d(torch.relu(x), 4, 2, 1).tanh()", "2, N, M"),
    "attention": FUNCTION.format("nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)", "2, 2, N, M"),
}
GRADIENT = """
class Model(nn.Module):
    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(nn.functional.layer_norm(x, (M,)).exp().sum(), x)[0]
def get_inputs():
    return [torch.randn(N, M)]
def get_init_inputs():
    return []
"""
REFERENCES["counts"] = FUNCTION.format("nn.functional.one_hot(x.argmax(-1), 64).float().mean(0)", "N, 64")
REFERENCES["classes_that_vary"] = FUNCTION.format(
    "x * nn.functional.one_hot(torch.topk(x, 2)[1], num_classes=x.shape[1]).sum(1)", "N, M"
)
REFERENCES["gradient"] = GRADIENT
REFERENCES["attention_by_hand"] = "import math\nimport numpy as np\n" + FUNCTION.format(
    "torch.softmax(x @ x.transpose(1, 2) / math.sqrt(x.shape[2]) * np.log(x.shape[1]), dim=-1) @ x "
    "* torch.sqrt(torch.tensor(x.shape[2], device=x.device))", "2, N, M"
)  # fmt: skip
HEADS = "x.view(2, N, 3, 2, M).permute(2, 0, 3, 1, 4)"
REFERENCES["written_attention"] = f"""
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.tril(torch.ones(N, N)).view(1, 1, N, N))
        self.dropout = nn.Dropout(0.1)
    def forward(self, x):
        query, key, value = {HEADS}
        scores = query @ key.transpose(-2, -1) * (1.0 / key.shape[-1] ** 0.5)
        scores = scores.masked_fill(self.seen[:, :, :N, :N] == 0, float("-inf"))
        weights = self.dropout(torch.softmax(scores.float(), dim=-1)).type_as(x)
        return (weights @ value).transpose(1, 2).reshape(2, N, 2 * M)
def get_inputs():
    return [torch.randn(2, N, 6 * M)]
def get_init_inputs():
    return []
"""
REFERENCES["rows_of_a_mask"] = """
class Model(nn.Module):
    def __init__(self, most):
        super().__init__()
        self.register_buffer("seen", torch.tril(torch.ones(most, most)))
    def forward(self, x):
        rows = x.shape[0]
        return x.masked_fill(self.seen[:rows, :rows] == 0, 3.0)
def get_inputs():
    return [torch.randn(N, N)]
def get_init_inputs():
    return [96]
"""
REFERENCES["weights_too"] = FUNCTION.format(
    "(lambda w: (w @ x, w))(torch.softmax(x @ x.transpose(-2, -1), -1))", "2, 2, N, M"
)
REFERENCES["changed_weights"] = """
class Model(nn.Module):
    def forward(self, x):
        key = x.clone()
        scores = x @ key.transpose(-2, -1)
        weights = torch.softmax(scores, -1)
        weights[..., 0] = 0.5
        others = torch.softmax(x @ key.transpose(-2, -1), -1)
        key.mul_(3)
        return weights @ x, others @ x
def get_inputs():
    return [torch.randn(2, 2, N, M)]
def get_init_inputs():
    return []
"""
REFERENCES["gate"] = MODULE.format(
    "self.up = nn.Linear(M, 12, bias=False)", "torch.softmax(self.up(x), dim=1) * (x.sum(1, True) > 0)", "N, M"
)
REFERENCES["scattered"] = """
class Model(nn.Module):
    def forward(self, x, rows):
        into = rows[0, :, None].expand(N, M)
        return x.index_add(0, rows[1], torch.tanh(x)), x.new_zeros(N, M).scatter_add(0, into, x)
def get_inputs():
    return [torch.randn(N, M), torch.randint(0, 9, (N,))[None].expand(2, N)]
def get_init_inputs():
    return []
"""
REFERENCES["long_scan"] = FUNCTION.format("torch.sigmoid(x).repeat(40, 1).cumsum(0)", "N, M")
REFERENCES["stored_sum"] = FUNCTION.format(
    "(x[0] + x[1] * x[2], nn.functional.layer_norm(x[0] + x[1] * x[2], (M,)))", "3, N, M"
)
REFERENCES["stored_product"] = FUNCTION.format(
    "(x[0] * x[1], x[0] * x[1] / (x[0] * x[1]).norm(dim=1, keepdim=True))", "2, N, M"
)
REFERENCES["stored_scores"] = FUNCTION.format("(x[0] * 3 + x[1], torch.softmax(x[0] * 3 + x[1], 1))", "2, N, M")
REFERENCES["named_alike"] = """
class Model(nn.Module):
    def __init__(self, M):
        super().__init__()
        self.M, self.share, self.both = M, 1 / M, nn.Linear(N, 2 * M)
    def forward(self, x):
        gate, up = self.both(x).split(self.M, -1)
        return torch.sigmoid(gate) * up * self.share
def get_inputs():
    return [torch.randn(3, N)]
def get_init_inputs():
    return [M]
"""
REFERENCES["kept_in_parts"] = """
import dataclasses
from functools import partial
@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    rest: tuple
class Model(nn.Module):
    def __init__(self, width, rest):
        super().__init__()
        self.config, self.sizes, self._third = Config(width, (rest, [rest])), {"more": [width - 5]}, width // 3
        self.first = lambda x: x[:, :width]
        self.norm = partial(nn.functional.layer_norm, normalized_shape=(width,))
    def forward(self, x):
        _, rest = x.split([self.config.width, self.config.rest[1][0]], 1)
        shares = self.first(x) * (1 / self.config.rest[0])
        return self.norm(shares), rest[:, :self._third] + 1, x.narrow(1, 2, self.sizes["more"][0]).tanh()
def get_inputs():
    return [torch.randn(N, M + 2 * N)]
def get_init_inputs():
    return [M, 2 * N]
"""
REFERENCES["rounded_sizes"] = """
import math
class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
    def forward(self, x):
        rows, columns = x.shape
        assert isinstance(self.width, int) and columns == self.width
        blocks = math.ceil(columns / 16)
        padded = nn.functional.pad(x, (0, 16 * blocks - columns)).view(rows, blocks, 16)
        half = x[:, : int(0.5 * columns)] / float(self.width // 3)
        least, most = min(rows, columns, 50), max((rows, columns))
        return padded.amax(-1), half, x[:least].sum(0) + most, math.floor(rows / 7) + x
def get_inputs():
    return [torch.randn(N, M)]
def get_init_inputs():
    return [M]
"""
REFERENCES["of_classes_and_defaults"] = """
class Model(nn.Module):
    half = M // 2
    def forward(self, x):
        parts, rest = divmod(len(x), 5)
        x = x + torch.linspace(-1, 1, x.shape[1], device=x.device)
        return self.scaled(x), x[:, self.half :] * parts + rest, x.unfold(1, self.half // 2, M // 9).sum(-1)
    def scaled(self, x, scale=M ** -0.5, *, first=M // 2):
        return torch.softmax(x * scale, -1)[:, :first]
def get_inputs():
    return [torch.randn(N, M)]
def get_init_inputs():
    return []
"""
REFERENCES["module_of_attention"] = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16 * (N // 48), 2, batch_first=True)
    def forward(self, x):
        return self.attention(x, x, x)
def get_inputs():
    return [torch.randn(2, M, 16 * (N // 48))]
def get_init_inputs():
    return []
"""
AUTOMATIC = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.norm = nn.Linear(M, M), nn.LayerNorm(M)
    def forward(self, x):
        with torch.autocast("cuda", dtype=torch.{dtype}):
            {body}
def get_inputs():
    return [torch.randn({shape})]
def get_init_inputs():
    return []
"""
REFERENCES |= {
    f"autocast_{name}": AUTOMATIC.format(body=body, shape=shape, dtype=dtype)
    for name, body, shape, dtype in (
        ("product", "return nn.functional.gelu(self.up(x))", "N, M", "bfloat16"),
        ("softmax", "return torch.softmax(self.up(x), -1)", "2, N, M", "float16"),
        ("norm", "return self.norm(self.up(x)) + x", "N, M", "bfloat16"),
        ("sum", "return self.up(x).exp().sum(-1), self.up(x).mean(-1)", "N, M", "bfloat16"),
        ("part", "y = self.up(x)\n        return y.float() @ self.up.weight", "N, M", "bfloat16"),
        ("attention", "return nn.functional.scaled_dot_product_attention(x, x, x)", "2, 2, N, M", "bfloat16"),
        ("written", "return torch.softmax(x @ x.transpose(-2, -1) * 0.2, -1) @ self.up(x)", "2, 2, N, M", "bfloat16"),
    )
}
REFERENCES["autocast_gradient"] = GRADIENT.replace(
    "            return torch.autograd.grad(nn.functional.layer_norm(x, (M,)).exp().sum(), x)[0]",
    "            with torch.autocast('cuda', dtype=torch.bfloat16):\n"
    "                y = nn.functional.layer_norm(x, (M,)).tanh() @ x.mT\n"
    "            return torch.autograd.grad(y.float().square().sum(), x)[0]",
)
REFERENCES["turned"] = """
class Model(nn.Module):
    def forward(self, x, angles):
        turns = torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(torch.view_as_complex(x.view(N, M, 2)) * turns).flatten(1)
def get_inputs():
    return [torch.randn(N, 2 * M), torch.randn(N, M)]
def get_init_inputs():
    return []
"""
REFERENCES["counted"] = """
class Model(nn.Module):
    def __init__(self, kinds):
        super().__init__()
        self.kinds = kinds
    def forward(self, x, rows):
        counts = torch.zeros(self.kinds, dtype=torch.int64, device=x.device)
        return x * 2, counts.scatter_add_(0, rows, torch.ones_like(rows))
def get_inputs():
    return [torch.randn(N, M), torch.randint(0, M, (5 * N,))]
def get_init_inputs():
    return [M]
"""
REFERENCES["returned_argument"] = """
class Model(nn.Module):
    def forward(self, x, moment):
        moment.lerp_(x, 0.25)
        x.mul_(0.5).add_(moment)
        return {"x": x, "twice": moment * 2}, moment
def get_inputs():
    return [torch.randn(N, M), torch.randn(N, M)]
def get_init_inputs():
    return []
"""
REFERENCES["kept_by_others"] = """
import dataclasses
import numpy as np
@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    width: int
class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.config, self.scale, self.third = Config(width), 1 / np.sqrt(width), np.int64(width // 3)
    def forward(self, x):
        return torch.softmax(x.view(-1, self.config.width) * self.scale, 1), x[:, :self.third] + 1
def get_inputs():
    return [torch.randn(N, M)]
def get_init_inputs():
    return [M]
"""
REFERENCES["whole_steps"] = FUNCTION.format(
    "x[torch.linspace(0, x.shape[0] - 1, M, dtype=torch.int64, device=x.device)]", "N, M"
)
DTYPES = {"attention_by_hand": Dtype.BFLOAT16, "written_attention": Dtype.BFLOAT16, "weights_too": Dtype.BFLOAT16,
          "changed_weights": Dtype.BFLOAT16,
          "gate": Dtype.BFLOAT16, "scattered": Dtype.BFLOAT16,
          "stored_sum": Dtype.BFLOAT16, "stored_product": Dtype.FLOAT16, "stored_scores": Dtype.BFLOAT16}  # fmt: skip
FURTHER = {"loss": Workload(name="one", constants={"N": 24, "M": 1}),
           "stored_sum": Workload(name="short", constants={"N": 128, "M": 4})}  # fmt: skip
MADE_BY = {"conv": "inductor and template", "grouped": "inductor and template",
           "depthwise": "inductor and template", "least_channel": "inductor and template", "templates": "template",
           "sorted_rows": "inductor and template", "attention": "template",
           "autocast_attention": "inductor and template", "autocast_written": "inductor and template",
           "classes_that_vary": "inductor and template", "written_attention": "inductor and template",
           "places": "inductor and template", "average": "inductor and template"}  # fmt: skip


def problem_of(name: str, source: str, *ones: Workload) -> Problem:
    small = (Workload(name="small", constants={"N": 48, "M": 37}), *ones)
    return Problem(
        name=name, reference=SHAPED + source, seed=Kernel(source=""), dtype=DTYPES.get(name, Dtype.FLOAT32),
        main=(Workload(name="given"),), small=small, layout=Layout.ANY,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_GPU.items():
        monkeypatch.setenv(name, value)


@pytest.mark.xdist_group("seeds")
@pytest.mark.parametrize("name", REFERENCES)
def test_a_seed_is_right_at_sizes_it_was_not_traced_with(name: str, tmp_path: Path) -> None:
    problem = problem_of(name, REFERENCES[name], *([FURTHER[name]] if name in FURTHER else []))
    (seed,) = make_seeds(problem, H100)
    assert seed.made_by == MADE_BY.get(name, "inductor")
    imported = [node for node in ast.walk(ast.parse(seed.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("_inductor" in ast.unparse(node) for node in imported)
    kernel = problem.seed.with_source(seed.source)
    jobs = [BuildJob(kernel=kernel, problem=problem, device=H100)]
    ((_, build),) = build_all(jobs, store=Store(tmp_path), workers=1)
    assert isinstance(build, Built), build
    _all_is_used(seed.source, {launch.kernel for workload in build.workloads for launch in workload.launches})
    ((_, verdict),) = verify_all([VerifyJob(kernel=kernel, problem=problem, seed=0)], workers=1)
    assert isinstance(verdict, Passed), verdict


def _all_is_used(source: str, launched: set[str]) -> None:
    tree = ast.parse(source)
    assert not dead_kernels(tree, launched)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} - {"kernel_function"}
    assert functions <= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.xdist_group("seeds")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("torch.fft.fft(x).real", "TorchInductor has no Triton for aten._fft"),
        ("x.view(N, M)", "the reference computes nothing"),
        (
            "sum(torch.tanh(x[:, at]) for at in range(x.shape[1]))",
            "the reference holds for m = 80 alone .*, which small workload small changes: give it",
        ),
        ("torch.stack([row.exp() for row in x])", "the reference holds for n = 96 alone"),
        ("x * (x.shape[1] // 2).__index__()", "the reference holds for m = 80 alone"),
        ("x.exp() if x.shape[1] % 2 else x.sin()", "the reference holds for m = 80 alone"),
        ("nn.functional.adaptive_avg_pool1d(x, 7)", "the reference holds for m = 80 alone"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(body: str, reason: str) -> None:
    with pytest.raises(SeedError, match=reason) as refused:
        make_seeds(problem_of("hard", FUNCTION.format(body, "N, M")), H100)
    assert "\n" not in str(refused.value)


@pytest.mark.xdist_group("seeds")
def test_a_number_that_the_model_keeps_and_that_follows_from_no_size_is_named() -> None:
    kept = MODULE.format("self.rate, self.unused = math.log(M), math.log(N)", "x * self.rate", "N, M")
    reason = r"the model keeps rate = 4\.38203, which other workloads change, and kopt does not see from which sizes"
    with pytest.raises(SeedError, match=reason):
        make_seeds(problem_of("logarithm", f"import math\n{kept}"), H100)


@pytest.mark.xdist_group("seeds")
def test_a_number_inside_an_attribute_that_follows_from_no_size_is_named() -> None:
    kept = MODULE.format("self.sizes = [7, M % 71]", "x[:, : self.sizes[1]] * 2", "N, M")
    reason = r"the reference keeps sizes\[1\] = 9, which other workloads change, and kopt does not see from which sizes"
    with pytest.raises(SeedError, match=reason):
        make_seeds(problem_of("rest", kept), H100)


@pytest.mark.xdist_group("seeds")
def test_the_first_seed_of_a_large_product_is_the_template_and_the_next_ones_are_exact() -> None:
    problem = problem_of("large", FUNCTION.format("x @ x.mT + 1", "N, N"))
    large = problem.model_copy(update={"main": (Workload(name="main", constants={"N": 2048}), *problem.main)})
    first, second, third = make_seeds(large, H100, variants=3)
    assert [seed.made_by for seed in (first, second, third)] == ["inductor and template", "inductor", "inductor"]
    assert "split_kernel" in first.source
    assert "ALLOW_TF32: tl.constexpr = False" in second.source
    assert second.source != third.source
