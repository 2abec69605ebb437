"""Kernels in the styles of published code build, and build to the same as the plain one."""

from pathlib import Path

import pytest

from kopt.device.build.build import LIMITS, BuildJob, build_all
from kopt.model.build import BuildFailed, Built
from kopt.model.kernel import Kernel
from kopt.store import Store
from tests.device.small import H100, SCALE, SOURCE

ENTRY = SOURCE.index("def kernel_function")
KERNEL, PLAIN = SOURCE[:ENTRY], SOURCE[ENTRY:]
CALL = "scale_kernel[(rows,)](x, weight, y, columns, factor, BLOCK=512, num_warps=4)"
assert CALL in PLAIN


def launched(text: str) -> str:
    return KERNEL + PLAIN.replace(CALL, text)


def wrapped(before: str, call: str) -> str:
    """The plain entry point under the name `scaled`, and one that calls it."""
    plain = PLAIN.replace("kernel_function(x, weight, factor)", "scaled(x, weight, factor)")
    return f"{KERNEL}{before}{plain}\n\ndef kernel_function(x, weight, factor):\n    return {call}\n"


SAME = {
    "with a block for its test": SOURCE + "\n\nif __name__ == '__main__':\n    import os\n    os.system('true')\n",
    "with a test function": SOURCE + "\n\ndef test_it():\n    import time\n    print(time.time())\n",
    "optional imports": "try:\n    import apex\n    HAS_APEX = True\nexcept ImportError:\n    HAS_APEX = False\n"
    + "import sys, os, logging, time\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from os import system\n"
    + "logger = logging.getLogger(__name__)\nlogger.setLevel(logging.INFO)\n" + SOURCE,
    "torch.distributed": "import torch.distributed as dist\n"
    + launched(f"dist.is_initialized() and dist.all_reduce(x)\n    {CALL}"),
    "partial": "import functools\n" + launched(
        "functools.partial(scale_kernel[(rows,)], BLOCK=512)(x, weight, y, columns, factor, num_warps=4)"
    ),
    "run": launched(CALL.replace("[(rows,)]", ".run").replace("num_warps=4", "grid=(rows,), warmup=False")),
    "in a dict": launched(CALL.replace("scale_kernel", "{'bf16': scale_kernel}['bf16']")),
    "in a class": KERNEL + "class Kernels:\n    scale = scale_kernel\n    _size: int = 512\n\n\n"
    + PLAIN.replace("scale_kernel[", "Kernels.scale["),
    "device contexts": launched(
        f"with torch.cuda.device(x.device.index), torch.cuda.device_of(x), torch.cuda._DeviceGuard(0):\n        {CALL}"
    ),
    "raw stream": "from torch._C import _cuda_getCurrentRawStream as get_raw_stream\n"
    + launched("assert get_raw_stream(0) == 0\n    " + CALL),
    "current device": launched("torch.cuda.set_device(torch.cuda.current_device())\n    " + CALL),
    "wrap_triton": launched(CALL.replace("scale_kernel[", "torch.library.wrap_triton(scale_kernel)[")),
    "custom_op": wrapped(
        "@torch.library.custom_op('tests::scaled', mutates_args=())\n",
        "torch.ops.tests.scaled(x, weight, factor)",
    ).replace("scaled(x, weight, factor):", "scaled(x: torch.Tensor, weight, factor: float) -> torch.Tensor:")
    + "\n\n@scaled.register_fake\ndef _(x, weight, factor):\n    return torch.empty_like(x)\n",
    "triton_op": wrapped("@torch.library.triton_op('tests::scaled', mutates_args={})\n", "scaled(x, weight, factor)"),
    "compiler.disable": wrapped("@torch.compiler.disable(recursive=False)\n", "scaled(x, weight, factor)"),
    "inference_mode": wrapped("@torch.inference_mode()\n", "scaled(x, weight, factor)"),
    "autograd function": wrapped(
        "", "Scale.apply(x, weight, factor)"
    ) + """

class Scale(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx, x, weight, factor):
        ctx.save_for_backward(x, weight)
        ctx.factor = factor
        return scaled(x, weight, factor)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy * weight, None, None
""",
    "module": wrapped("", "Scaled()(x, weight, factor)") + """

class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self._calls = 0

    def forward(self, input, weight, factor):
        self._calls += 1
        return scaled(input, weight, factor)
""",
    "occupancy": launched(
        "warm = scale_kernel.warmup(x, weight, y, columns, factor, BLOCK=512, num_warps=4, grid=(1,))\n"
        "    warm._init_handles()\n"
        "    assert warm.n_regs > 0 and warm.n_spills == 0 and warm.metadata.shared >= 0\n"
        "    properties = triton.runtime.driver.active.utils.get_device_properties(x.device.index)\n"
        "    assert properties['multiprocessor_count'] == 132\n"
        "    warm[(rows, 1, 1)](x, weight, y, columns, factor, 512)"
    ),
    "settings": "import dataclasses, enum, functools, os, random\n@dataclasses.dataclass(frozen=True)\nclass Tile:\n"
    "    block: int = 512\n\n\n@functools.lru_cache(maxsize=None)\ndef tile():\n"
    "    return Tile(int(os.environ.get('BLOCK', '512')))\n\n\n__all__ = ['kernel_function']\n"
    + launched(CALL.replace("BLOCK=512", "BLOCK=tile().block")),
    "triton names": launched(
        "assert triton.next_power_of_2(columns) == 512 and triton.cdiv(3, 2) == 2\n    triton.set_allocator(\n"
        f"        lambda size, align, stream: torch.empty(size, dtype=torch.int8, device='cuda'))\n    {CALL}"
    ),
    "one configuration": KERNEL.replace("@triton.jit", "@triton.autotune([triton.Config({}, num_warps=4)], key=[])\n"
    "@triton.heuristics({'BLOCK': lambda args: triton.next_power_of_2(args['columns'])})\n@triton.jit")
    + PLAIN.replace(", BLOCK=512, num_warps=4", ""),
    "factory": "def made():\n" + "\n".join(
        f"    {line}" for line in KERNEL.partition("import triton.language as tl")[2].strip().splitlines()
    ).join(["", "\n    return scale_kernel\n"]).replace("def made", "\n\ndef made")
    + "\n\n" + PLAIN.replace("scale_kernel[", "made()["),
}  # fmt: skip
SAME["factory"] = KERNEL.partition("@triton.jit")[0] + SAME["factory"]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    sources = {"plain": SOURCE, **SAME}
    jobs = [BuildJob(kernel=Kernel(source=source), problem=SCALE, device=H100) for source in sources.values()]
    store = Store(Path(tmp_path_factory.mktemp("store")))
    found = dict(build_all(jobs, store=store, workers=2, limits=LIMITS))
    return {name: found[index] for index, name in enumerate(sources)}


@pytest.mark.parametrize("style", SAME)
def test_a_style_builds_to_the_same_as_the_plain_kernel(builds, style):
    build = builds[style]
    assert isinstance(build, Built), build
    first, plain = build.workloads[0].launches[0], builds["plain"].workloads[0].launches[0]
    assert (first.normal_ptx, first.grid, first.pointers) == (plain.normal_ptx, plain.grid, plain.pointers)
    assert len(build.workloads[0].launches) == 1


def test_a_compiled_kernel_takes_arguments_of_its_own_kind_only(tmp_path):
    source = launched(
        "warm = scale_kernel.warmup(x, weight, y, columns, factor, BLOCK=512, num_warps=4, grid=(1,))\n"
        "    warm[(rows, 1, 1)](x, weight, y, columns + 1, factor, 512)"
    )
    job = BuildJob(kernel=Kernel(source=source), problem=SCALE, device=H100)
    ((_, build),) = build_all([job], store=Store(tmp_path), workers=1, limits=LIMITS)
    assert isinstance(build, BuildFailed)
    assert "of another kind than it was compiled for" in build.reason
