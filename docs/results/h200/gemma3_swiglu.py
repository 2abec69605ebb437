"""gemma3_swiglu: 3 Triton kernels (wide_kernel, pair_kernel, pair_strip_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    gemma3_swiglu, bfloat16
# run        gemma3_swiglu-written: preset beam_search, 2 rounds, seed 0, proposers written
# kernel     r2a0s1, made by kopt absent
# lineage    the problem's seed kernel, then
#            1. For M 128 a program computes 128x128 outputs (128x256 of products) with 8 warps, all three operands
#            brought by host-made TMA descriptors through 4 stages of 48 KB: no pointer registers and no masks in the
#            loop. For M = 128, where weight bandwidth decides, the operands are swapped: gate and up til... (written)
#            2. The widest wgmma (m64n256) lost so far only because its operand was gathered by pointers. Here TMA
#            fills it: gate and up are described as one 3-D tensor [2, N, K] whose outer stride is the distance
#            between the two allocations, so one load of [2, 128, 64] lands as a 256-row operand and each step i...
#            (written)
# verdict    right in 20 comparisons on a GPU, on new inputs after the search
# time       0.1418 ms, 95 % interval 0.1413 to 0.1422 ms, measured on NVIDIA H200; 76 % of the roofline
#            compile 0.1554 ms, 1.10x (1.091 to 1.099)
#            eager 0.3278 ms, 2.31x (2.306 to 2.317)
#            max-autotune 0.1553 ms, 1.09x (1.090 to 1.097)
#            seed 0.3143 ms, 2.22x (2.211 to 2.222)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     m512: x bfloat16[4, 128, 3072], gate bfloat16[24576, 3072], up bfloat16[24576, 3072] -> output
#            bfloat16[4, 128, 24576]
# shapes     m128: x bfloat16[1, 128, 3072], gate bfloat16[24576, 3072], up bfloat16[24576, 3072] -> output
#            bfloat16[1, 128, 24576]
#            verified on other sizes too: m256 (batch=2, seq=128); ragged (batch=3, hidden=1032, intermediate=2088,
#            seq=67); ragged (batch=3, hidden=136, intermediate=200, seq=47)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def gated_gelu(g, u):
    # gelu_tanh(g) * u = g * u * sigmoid(2 * inner): one exp2 and one division
    t = g * (-2.302208198 - 0.10294323958 * g * g)
    return g * u / (1.0 + tl.exp2(t))


@triton.jit
def wide_kernel(
    x_ptr, gate_ptr, up_ptr, out_ptr, M, N, K,
    stride_xm, stride_gn, stride_un, stride_om,
    EVEN_K: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    rows = (pid % num_m) * BLOCK_M + tl.arange(0, BLOCK_M)
    first = (pid // num_m) * BLOCK_N
    lanes = tl.arange(0, 2 * BLOCK_N)
    ks = tl.arange(0, BLOCK_K)
    # rows and columns past the end are clamped: they are computed and never stored
    safe_rows = tl.minimum(rows, M - 1).to(tl.int64)
    w_columns = tl.minimum(first + lanes % BLOCK_N, N - 1).to(tl.int64)
    w_base = tl.where(lanes < BLOCK_N, gate_ptr + w_columns * stride_gn, up_ptr + w_columns * stride_un)
    x_ptrs = x_ptr + safe_rows[:, None] * stride_xm + ks[None, :]
    w_ptrs = w_base[None, :] + ks[:, None]
    acc = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        if EVEN_K:
            x = tl.load(x_ptrs)
            w = tl.load(w_ptrs)
        else:
            x = tl.load(x_ptrs, mask=ks[None, :] < K - k, other=0.0)
            w = tl.load(w_ptrs, mask=ks[:, None] < K - k, other=0.0)
        acc = tl.dot(x, w, acc)
        x_ptrs += BLOCK_K
        w_ptrs += BLOCK_K
    g, u = tl.split(tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N)), (0, 2, 1)))
    out = gated_gelu(g, u).to(out_ptr.dtype.element_ty)
    columns = first + tl.arange(0, BLOCK_N)
    out_ptrs = out_ptr + rows.to(tl.int64)[:, None] * stride_om + columns[None, :]
    tl.store(out_ptrs, out, mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def store_tile(out_ptr, out, off_m, off_n, M, N, stride_om, BM: tl.constexpr, BN: tl.constexpr):
    rows = off_m + tl.arange(0, BM)
    columns = off_n + tl.arange(0, BN)
    ptrs = out_ptr + rows.to(tl.int64)[:, None] * stride_om + columns[None, :]
    tl.store(ptrs, out.to(out_ptr.dtype.element_ty), mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def split_columns(acc, FLIP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    # the first BN columns and the last BN columns of a BM x 2 BN accumulator
    a, b = tl.split(tl.permute(tl.reshape(acc, (BM, 2, BN)), (0, 2, 1)))
    if FLIP:
        out = gated_gelu(b, a)
    else:
        out = gated_gelu(a, b)
    return out


@triton.jit
def pair_kernel(
    x_desc, w_desc, out_ptr, M, N, K, stride_om, FLIP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    off_m = (pid % num_m) * BLOCK_M
    off_n = (pid // num_m) * BLOCK_N
    acc = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        x = x_desc.load([off_m, k])
        w = w_desc.load([0, off_n, k]).reshape(2 * BLOCK_N, BLOCK_K)
        acc = tl.dot(x, w.T, acc)
    out = split_columns(acc, FLIP, BLOCK_M, BLOCK_N)
    store_tile(out_ptr, out, off_m, off_n, M, N, stride_om, BLOCK_M, BLOCK_N)


@triton.jit
def pair_strip_kernel(
    x_desc, wa_desc, wb_desc, out_ptr, M, N, K, stride_om, FLIP: tl.constexpr,
    BLOCK_M: tl.constexpr, NA: tl.constexpr, NB: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    off_m = (pid % num_m) * BLOCK_M
    off_a = (pid // num_m) * (NA + NB)
    off_b = off_a + NA
    acc_a = tl.zeros((BLOCK_M, 2 * NA), dtype=tl.float32)
    acc_b = tl.zeros((BLOCK_M, 2 * NB), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        x = x_desc.load([off_m, k])
        wa = wa_desc.load([0, off_a, k]).reshape(2 * NA, BLOCK_K)
        wb = wb_desc.load([0, off_b, k]).reshape(2 * NB, BLOCK_K)
        acc_a = tl.dot(x, wa.T, acc_a)
        acc_b = tl.dot(x, wb.T, acc_b)
    store_tile(out_ptr, split_columns(acc_a, FLIP, BLOCK_M, NA), off_m, off_a, M, N, stride_om, BLOCK_M, NA)
    store_tile(out_ptr, split_columns(acc_b, FLIP, BLOCK_M, NB), off_m, off_b, M, N, stride_om, BLOCK_M, NB)


def fits_tma(*tensors):
    return all(t.stride(-1) == 1 and t.stride(0) % 8 == 0 and t.data_ptr() % 16 == 0 for t in tensors)


def pairs_up(gate, up):
    # both weights can be one 3-D tensor: equal row strides, and the second one starts after the first
    apart = abs(up.data_ptr() - gate.data_ptr())
    return gate.stride(0) == up.stride(0) and 0 < apart < 2**39 and apart % 16 == 0


def pair_descriptor(gate, up, block_n, block_k):
    # [2, N, K]: plane 0 is the weight with the lower address
    low = gate if gate.data_ptr() < up.data_ptr() else up
    apart = abs(up.data_ptr() - gate.data_ptr()) // gate.element_size()
    shape = [2, gate.shape[0], gate.shape[1]]
    return TensorDescriptor(low, shape, [apart, gate.stride(0), 1], [2, block_n, block_k])


def kernel_function(x, gate, up):
    K = x.shape[-1]
    N = gate.shape[0]
    flat = x.reshape(-1, K)
    M = flat.shape[0]
    out = torch.empty((*x.shape[:-1], N), dtype=x.dtype, device=x.device)
    if not fits_tma(flat, gate, up) or not pairs_up(gate, up):
        BM, BN, BK = 64, 64, 64
        wide_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
            flat, gate, up, out, M, N, K, flat.stride(0), gate.stride(0), up.stride(0), N,
            EVEN_K=K % BK == 0, BLOCK_M=BM, BLOCK_N=BN, BLOCK_K=BK, num_warps=4, num_stages=3,
        )  # fmt: skip
        return out
    if M <= 128:
        BM, NA, NB, BK = 128, 128, 64, 64
        x_desc = TensorDescriptor.from_tensor(flat, [BM, BK])
        wa_desc = pair_descriptor(gate, up, NA, BK)
        wb_desc = pair_descriptor(gate, up, NB, BK)
        pair_strip_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, NA + NB),)](
            x_desc, wa_desc, wb_desc, out, M, N, K, N,
            FLIP=up.data_ptr() < gate.data_ptr(), BLOCK_M=BM, NA=NA, NB=NB, BLOCK_K=BK,
            num_warps=8, num_stages=3,
        )  # fmt: skip
    else:
        BM, BN, BK = 128, 128, 64
        x_desc = TensorDescriptor.from_tensor(flat, [BM, BK])
        w_desc = pair_descriptor(gate, up, BN, BK)
        pair_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
            x_desc, w_desc, out, M, N, K, N,
            FLIP=up.data_ptr() < gate.data_ptr(), BLOCK_M=BM, BLOCK_N=BN, BLOCK_K=BK,
            num_warps=8, num_stages=4,
        )  # fmt: skip
    return out


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

        REFERENCE = '''"""Gemma 3's gated feed-forward half: gelu_tanh(x @ gate.T) * (x @ up.T), GELU in fp32."""

import math

import torch
from torch import nn

batch = 4
seq = 128
hidden = 3072
intermediate = 24576


class Model(nn.Module):
    def forward(self, x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """x (batch, seq, hidden), gate and up (intermediate, hidden) give (batch, seq, intermediate)."""
        g = torch.matmul(x, gate.T)
        u = torch.matmul(x, up.T)
        wide = g.to(torch.promote_types(g.dtype, torch.float32))
        inner = math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide * wide * wide)
        activated = 0.5 * wide * (1.0 + torch.tanh(inner))
        return activated.to(u.dtype) * u


def get_inputs():
    scale = hidden**-0.5
    return [
        torch.randn(batch, seq, hidden),
        torch.randn(intermediate, hidden) * scale,
        torch.randn(intermediate, hidden) * scale,
    ]


def get_init_inputs():
    return []
'''
        WORKLOADS = {'m512': {'batch': 4, 'seq': 128}, 'm128': {'batch': 1, 'seq': 128}, 'm256': {'batch': 2, 'seq': 128}, 'ragged': {'batch': 3, 'hidden': 1032, 'intermediate': 2088, 'seq': 67}}
        DTYPE = torch.bfloat16
        raise SystemExit(check(kernel_function, 'gemma3_swiglu', REFERENCE, DTYPE, WORKLOADS))

    _check_and_time()
