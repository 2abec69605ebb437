"""rmsnorm: 2 Triton kernels (_rmsnorm_tma, _rmsnorm_loop), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    rmsnorm, bfloat16
# run        rmsnorm-written: preset beam_search, 1 round, seed 0, proposers written
# kernel     r1a0s3, made by kopt absent
# lineage    the problem's seed kernel, then
#            1. Loads now go through TMA: a host-made 3-D descriptor (batch, channel, position) brings 64 x 128 tiles
#            (16 KB) to shared memory in a persistent loop of num_stages=4, so three tiles per program and about 96 KB
#            per SM are in flight without spending registers or load instructions on addresses; out-of... (written)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       1.9284 ms, 95 % interval 1.9255 to 1.9350 ms, measured on NVIDIA H200; 81 % of the roofline
#            compile 3.3529 ms, 1.74x (1.733 to 1.743)
#            eager 8.3073 ms, 4.31x (4.293 to 4.314)
#            max-autotune 1.8242 ms, 0.95x (0.943 to 0.948)
#            seed 3.2814 ms, 1.70x (1.697 to 1.704)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     b112_c64_512x512: x bfloat16[112, 64, 512, 512] -> output bfloat16[112, 64, 512, 512]
#            verified on other sizes too: ragged (batch_size=3, dim1=131, dim2=200, features=40); ragged
#            (batch_size=2, dim1=31, dim2=40, features=10)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

@triton.jit
def _rmsnorm_tma(x_desc, y_ptr, features, positions, tiles, total, inv_features, eps,
                 F: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr, STAGES: tl.constexpr):
    stride = tl.cast(positions, tl.int64)
    plane = stride * features
    rows = tl.arange(0, F)
    cols = tl.arange(0, BLOCK)
    offsets = rows.to(tl.int64)[:, None] * stride + cols[None, :]
    for tile in tl.range(tl.program_id(0), total, tl.num_programs(0), num_stages=STAGES):
        batch = tile // tiles
        start = (tile - batch * tiles) * BLOCK
        x = tl.reshape(x_desc.load([batch, 0, start]), (F, BLOCK)).to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, axis=0) * inv_features + eps)
        y = (x * scale[None, :]).to(tl.bfloat16)
        base = batch.to(tl.int64) * plane + start
        if EVEN:
            tl.store(y_ptr + base + offsets, y, eviction_policy="evict_first")
        else:
            mask = (rows < features)[:, None] & (start + cols < positions)[None, :]
            tl.store(y_ptr + base + offsets, y, mask=mask, eviction_policy="evict_first")


@triton.jit
def _rmsnorm_loop(x_ptr, y_ptr, features, positions, tiles, inv_features, eps, BLOCK: tl.constexpr):
    # General path for very many channels or layouts that the fast path cannot take.
    pid = tl.program_id(0)
    batch = pid // tiles
    cols = (pid - batch * tiles) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < positions
    stride = tl.cast(positions, tl.int64)
    base = batch.to(tl.int64) * features * stride
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for feature in range(0, features):
        x = tl.load(x_ptr + (base + feature * stride) + cols, mask=mask, other=0.0).to(tl.float32)
        total += x * x
    scale = tl.rsqrt(total * inv_features + eps)
    for feature in range(0, features):
        x = tl.load(x_ptr + (base + feature * stride) + cols, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + (base + feature * stride) + cols, (x * scale).to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x, eps=1e-5):
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    batch, features = x.shape[0], x.shape[1]
    positions = x.numel() // (batch * features)
    inv_features = 1.0 / features
    F = max(16, triton.next_power_of_2(features))
    if F > 64 or positions % 8 != 0 or x.dtype != torch.bfloat16 or x.data_ptr() % 16 != 0:
        block = 1024
        tiles = triton.cdiv(positions, block)
        _rmsnorm_loop[(batch * tiles,)](
            x, y, features, positions, tiles, inv_features, eps, BLOCK=block, num_warps=4
        )
        return y
    block = 128
    tiles = triton.cdiv(positions, block)
    total = batch * tiles
    sms = torch.cuda.get_device_properties(x.device).multi_processor_count
    # three dimensions: channels and positions beyond the ends are filled with zeros
    x_desc = TensorDescriptor.from_tensor(x.view(batch, features, positions), [1, F, block])
    even = positions % block == 0 and features == F
    _rmsnorm_tma[(min(total, 2 * sms),)](
        x_desc, y, features, positions, tiles, total, inv_features, eps,
        F=F, BLOCK=block, EVEN=even, STAGES=4, num_warps=4
    )
    return y


if __name__ == "__main__":

    def _check_and_time():
        import inspect
        from collections.abc import Callable, Mapping, Sequence
        from typing import Any
        import torch

        def further_arguments(
            entry: Callable[..., Any], inputs: Sequence[Any], model: torch.nn.Module, constants: Mapping[str, Any]
        ) -> dict[str, Any]:
            """Return the values of the parameters that follow the inputs, by name.

            A value is a parameter, buffer or attribute of the model, by its full name with `_` for `.` or by the last part of
            its name, or a constant of the reference.  A parameter without such a value keeps its default.
            """
            values: dict[str, Any] = {}
            for path, module in model.named_modules():
                own = {**vars(module), **module._parameters, **module._buffers}
                for name, value in own.items():
                    if not name.startswith("_"):
                        values.setdefault(name, value)
                        values[f"{path}.{name}".strip(".").replace(".", "_")] = value
            parameters = list(inspect.signature(entry).parameters.values())[len(inputs) :]
            found = {p.name: values[p.name] for p in parameters if p.name in values}
            left = [p.name for p in parameters if p.name not in found and p.default is p.empty]
            return found | {name: constants[name] for name in left if name in constants}

        from collections.abc import Callable
        from typing import Any
        import torch

        def made_in_evaluation_mode(make: Callable[[], Any]) -> Any:
            """Make a model and put it into evaluation mode, save for modules whose mode its own code sets (`self.train()`).

            A module whose mode nobody sets has that of the module that holds it.

            Args:
                make: makes the model; what is no module is returned as it is.
            """
            modes: dict[int, tuple[torch.nn.Module, bool]] = {}
            sets = torch.nn.Module.__setattr__

            def noted(module: torch.nn.Module, name: str, value: Any) -> None:
                if name == "training":
                    modes[id(module)] = module, bool(value)
                sets(module, name, value)

            torch.nn.Module.__setattr__ = noted  # type: ignore[assignment, method-assign]  # as torch's own setter
            try:
                model = make()
            finally:
                torch.nn.Module.__setattr__ = sets  # type: ignore[method-assign]
            if isinstance(model, torch.nn.Module):
                waiting = [(model, False)]
                while waiting:
                    module, mode = waiting.pop()
                    module.training = modes.get(id(module), (module, mode))[1]
                    waiting += [(child, module.training) for child in module.children()]
            return model

        import ast
        import copy
        import statistics
        import sys
        import time
        from collections.abc import Callable, Mapping
        from functools import partial
        from types import ModuleType
        from typing import Any
        import torch

        BYTES_IN_FLOAT64 = 8 << 30

        def reference_of(source: str, constants: Mapping[str, int]) -> ModuleType:
            """Execute the reference with constants in place of its own."""
            tree = ast.parse(source)
            for statement in tree.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    name = statement.targets[0].id
                    if name in constants:
                        statement.value = ast.copy_location(ast.Constant(constants[name]), statement.value)
            module = ModuleType("reference")
            sys.modules["reference"] = module
            exec(compile(tree, "reference.py", "exec"), vars(module))
            return module

        def in_dtype(value: Any, dtype: torch.dtype) -> Any:
            """Move a value's tensors to the GPU, floating-point ones in a dtype; those of 8 bits stay as they are."""
            if isinstance(value, torch.Tensor):
                wide = value.is_floating_point() and value.element_size() > 1
                return value.to("cuda", dtype if wide else value.dtype)
            if isinstance(value, list | tuple):
                return type(value)(in_dtype(one, dtype) for one in value)
            if isinstance(value, dict):
                return {key: in_dtype(one, dtype) for key, one in value.items()}
            return value

        def tensors_of(value: Any) -> list[torch.Tensor]:
            """List the tensors in a value."""
            if isinstance(value, torch.Tensor):
                return [value]
            values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            return [tensor for one in values for tensor in tensors_of(one)]

        def result_of(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
            """Call a function on copies of the inputs; return its result and the copies, which it may have changed."""
            copies = copy.deepcopy(inputs)
            return [function(*copies), copies]

        def largest_error(values: Any, exact: Any) -> float:
            """Return the largest error of a result over the largest magnitude of the exact one; infinity for other shapes."""
            worst = 0.0
            for one, right in zip(tensors_of(values), tensors_of(exact), strict=True):
                if one.shape != right.shape:
                    return float("inf")
                if one.numel():
                    wide, right = one.double(), right.double()
                    same = (wide == right) | (wide.isnan() & right.isnan())
                    error = torch.where(same, 0.0, (wide - right).abs()).nan_to_num(float("inf"), float("inf")).max()
                    worst = max(worst, float(error) / max(float(right.abs().nan_to_num(0, 0, 0).max()), 1e-30))
            return worst

        def median_ms(call: Callable[[], Any], repeat: int = 50) -> float:
            """Return the median time of a call on the GPU, ms, with a cold cache."""
            flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
            times = []
            for _ in range(repeat):
                flush.zero_()
                before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                before.record()
                call()
                after.record()
                torch.cuda.synchronize()
                times.append(before.elapsed_time(after))
            return float(statistics.median(times[len(times) // 5 :]))

        def wall_ms(call: Callable[[], Any], repeat: int = 50) -> float:
            """Return the median time from a call to its end on an idle GPU, ms: the host's work is part of it."""
            times = []
            for _ in range(repeat):
                torch.cuda.synchronize()
                start = time.perf_counter()
                call()
                torch.cuda.synchronize()
                times.append(1e3 * (time.perf_counter() - start))
            return float(statistics.median(times[len(times) // 5 :]))

        def check(
            entry: Callable[..., Any], problem: str, reference: str, dtype: torch.dtype,
            workloads: Mapping[str, Mapping[str, int]],
        ) -> int:  # fmt: skip
            """Print a line for each workload: the kernel's error beside eager's, and the times of both, on the GPU and in all.

            Returns:
                1 where the kernel is wrong, 2 where there is no GPU, else 0.
            """
            if not torch.cuda.is_available():
                command = f"kopt evaluate {sys.argv[0]} --problem {problem}"
                print(f"this check needs a CUDA GPU; without one, kopt judges the kernel: {command}")
                return 2
            wrong = 0
            print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
            print(f"{'workload':24} {'error':>9} {'eager':>9} {'kernel ms':>10} {'eager ms':>9} {'wall ms':>9} {'of eager':>9}")
            for name, constants in workloads.items():
                with torch.no_grad(), torch.device("cuda"):
                    torch.manual_seed(1)
                    module = reference_of(reference, constants)
                    initial = module.get_init_inputs()
                    positional, named = ((), initial) if isinstance(initial, dict) else (initial, {})
                    model = made_in_evaluation_mode(partial(module.Model, *positional, **named)).to("cuda", dtype)
                    given = module.get_inputs()
                    given = [given] if isinstance(given, torch.Tensor) else given
                    inputs = in_dtype(list(given.values()) if isinstance(given, dict) else list(given), dtype)
                    further = further_arguments(entry, inputs, model, vars(module))
                    kernel = partial(entry, **further)
                    eager = result_of(model, inputs)
                    exact = eager
                    if 8 * sum(tensor.numel() for tensor in tensors_of(inputs)) <= BYTES_IN_FLOAT64:
                        exact = result_of(copy.deepcopy(model).double(), in_dtype(inputs, torch.float64))
                    error, own = largest_error(result_of(kernel, inputs), exact), largest_error(eager, exact)
                    right = error <= 2 * max(own, torch.finfo(dtype).eps)
                    calls = partial(kernel, *inputs), partial(model, *inputs)
                    times = [median_ms(call) for call in calls] + [wall_ms(call) for call in calls]
                wrong += not right
                figures = f"{error:9.2e} {own:9.2e} {times[0]:10.4f} {' '.join(f'{one:9.4f}' for one in times[1:])}"
                print(f"{name[:24]:24} {figures}{'' if right else '   WRONG'}")
            return 1 if wrong else 0

        REFERENCE = '''"""RMS normalisation over the channels, dimension 1 (KernelBench level 1)."""

import torch
from torch import nn

batch_size = 112
features = 64
dim1 = 512
dim2 = 512


class Model(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (batch_size, features, dim1, dim2) gives the same shape."""
        rms = torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + self.eps)
        return x / rms


def get_inputs():
    return [torch.randn(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features]
'''
        WORKLOADS = {'b112_c64_512x512': {}, 'ragged': {'batch_size': 3, 'dim1': 131, 'dim2': 200, 'features': 40}}
        DTYPE = torch.bfloat16
        raise SystemExit(check(kernel_function, 'rmsnorm', REFERENCE, DTYPE, WORKLOADS))

    _check_and_time()
