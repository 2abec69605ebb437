"""Kernels of KernelAgent: the starting points of its examples, and the samples that it shows to its model."""

from public.adapter import Adapter, Repository

# a table: with one argument a line it would be three times as long
# fmt: off
SAMPLES = "kernel_perf_agent/kernel_opt/database/code_samples"
ADD = {
    "forward": "x, y: x + y", "inputs": "torch.randn(M, N), torch.randn(M, N)", "entry": "x, y: add(x, y)",
    "main": "M=8192, N=8192", "small": "M=130, N=200; M=256, N=384", "dtype": "float16",
}
MATMUL = {
    "forward": "a, b: a @ b", "inputs": "torch.randn(M, K), torch.randn(K, N)", "entry": "a, b: matmul(a, b)",
    "main": "M=4096, N=4096, K=4096", "small": "M=130, N=200, K=72; M=256, N=128, K=256", "dtype": "float16",
}

ADAPTERS = (
    Adapter(
        "matvec", "examples/optimize_01_matvec/input.py", "A, B: A @ B", "torch.rand(M, K), torch.rand(K, 1)", "",
        "M=2048, K=1048576", "M=150, K=600; M=128, K=512", dtype="bfloat16",
    ),
    Adapter(
        "rmsnorm_in_place", "examples/optimize_02_rmsnorm/input.py",
        "x: x.copy_(x / torch.sqrt(torch.mean(x ** 2, dim=1, keepdim=True) + 1e-5))",
        "torch.rand(B, C, H, W)", "", "B=16, C=64, H=512, W=512", "B=2, C=5, H=3, W=70; B=1, C=4, H=2, W=64",
        mutates=("x",),
    ),
    Adapter(
        "max_pooling", "examples/optimize_03_max_pooling/input.py",
        "x: F.max_pool3d(x, kernel_size, stride, padding, dilation)", "torch.rand(B, C, D, D, D)", "",
        "B=16, C=32, D=128, kernel_size=3, stride=2, padding=1, dilation=3", "B=1, C=2, D=10; B=2, C=1, D=9",
    ),
    Adapter("add", f"{SAMPLES}/matadd.py", **ADD),
    Adapter("add_persistent", f"{SAMPLES}/matadd_perst.py", **ADD),
    Adapter("add_by_host_descriptors", f"{SAMPLES}/matadd_tma_host.py", **ADD),
    Adapter("add_by_device_descriptors", f"{SAMPLES}/matadd_tma_device.py", **ADD),
    Adapter("matmul", f"{SAMPLES}/matmul.py", **MATMUL),
    Adapter("matmul_swizzled", f"{SAMPLES}/matmul_sw.py", **MATMUL),
    Adapter("matmul_by_host_descriptors", f"{SAMPLES}/matmul_tma_host.py", **MATMUL),
)

REPOSITORY = Repository("KernelAgent", ".", ADAPTERS, whole=True)
