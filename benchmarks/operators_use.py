"""Use an exported kernel in a process without kopt, and compare it with the reference (for `benchmarks/operators.py`).

    python -I -S benchmarks/operators_use.py PROBLEM.py EXPORTED.py --packages SITE_PACKAGES --small '{"rows": 5}'

On a GPU the exported model has to launch kernels.  Without one it runs PyTorch, so its kernel is called directly, too,
at small sizes in Triton's own interpreter, each in a process of its own.  Python is started without site-packages,
whose list of paths may lead to kopt; the folder with torch is added by hand.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ERROR = {"float16": 1e-2, "bfloat16": 4e-2, "float32": 4e-3, "float64": 1e-6}
"""Largest difference to the reference in float32, by dtype, as a share of the reference's largest value: this catches
a wrong export, not a lack of precision, which the search has judged; torch convolves float32 in TF32 on a GPU."""

WHOLE = 0.01
"""Share of whole numbers from which they may not differ, save for those that ties or rounding decide."""

UNDECIDED = Path(__file__).parents[1] / "kopt" / "winner" / "embedded" / "undecided.py"
"""Module that finds what ties and rounding decide; it needs torch alone."""

MATH = ("abs", "ceil", "cos", "div_rn", "erf", "exp", "exp2", "floor", "fma", "log", "log2", "rsqrt", "sin", "sqrt")
"""Functions of libdevice that `tl.math` has, too."""

BIG = float(1 << 23)
"""From here on neighbouring numbers of float32 are one apart."""


def main() -> int:
    """Call the exported kernel on the reference's inputs; the status is 1 where the result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", type=Path, help="problem.py")
    parser.add_argument("exported", type=Path, help="file of kopt export")
    parser.add_argument("--packages", required=True, help="folder with torch")
    parser.add_argument("--judge", default="auto", help="cuda: a GPU is needed; interpret: the CPU is used")
    parser.add_argument("--small", nargs="*", default=[], metavar="JSON", help="constants of the problem's small sizes")
    parser.add_argument("--at", type=json.loads, metavar="JSON", help="interpret the kernel with these constants")
    options = parser.parse_args()
    sys.path.append(options.packages)
    sys.modules["kopt"] = None  # type: ignore[assignment]  # an installed kopt lies beside torch
    try:
        import kopt  # noqa: F401
    except ImportError:
        pass
    else:
        raise AssertionError("kopt can be imported")

    import torch

    on_gpu = options.judge == "cuda" or (options.judge == "auto" and torch.cuda.is_available())
    if options.at is not None:
        print(interpreted(options.problem, options.exported, options.at))
        return 0
    worst, launches = used(options.problem, options.exported, "cuda" if on_gpu else "cpu")
    if on_gpu:
        print(f"the kernel ran, {launches} launches; largest difference {worst:.2g} of the largest value")
        return int(not launches)
    print(f"no GPU: the model ran PyTorch; largest difference {worst:.2g} of the largest value", flush=True)
    for constants in options.small:
        words = [str(options.problem), str(options.exported), "--packages", options.packages, "--at", constants]
        if subprocess.run([sys.executable, "-I", "-S", __file__, *words], check=False).returncode:
            return 1
    return 0


def used(problem: Path, exported: Path, device: str) -> tuple[float, int]:
    """Call the exported model at full size; return its largest difference to the reference, and its launches."""
    import torch

    reference, kernel = loaded("reference", problem, {}), loaded("exported", exported, {})
    inputs = inputs_of(reference, kernel, device)
    model, fast = made(reference, "Model", inputs).to(device), made(kernel, "KernelModel", inputs).to(device)
    fast.load_state_dict(model.state_dict())
    launches = Launches()
    with torch.no_grad(), launches:
        result = outputs(fast(*[value.clone() for value in inputs]))
    with torch.no_grad():
        return differs(result, model, inputs), launches.count


def interpreted(problem: Path, exported: Path, constants: dict[str, int]) -> str:
    """Call the kernel in Triton's interpreter, with some constants replaced, and say how it differs."""
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    import torch

    reference, kernel = loaded("reference", problem, constants), loaded("exported", exported, constants)
    inputs = inputs_of(reference, kernel, "cpu")
    model = made(reference, "Model", inputs)
    entry = kernel.kernel_function
    complete_interpreter()
    regions: Any = torch.autocast
    make = regions.__init__

    def on_cpu(region: Any, device_type: str, dtype: Any = None, *rest: Any, **named: Any) -> None:
        make(region, "cpu", dtype or torch.float16, *rest, **named)  # the GPU's does nothing there

    regions.__init__ = on_cpu
    launches = Launches()
    with torch.no_grad():
        further = kernel.further_arguments(entry, inputs, model, vars(kernel))
        with launches:
            result = outputs(entry(*[value.clone() for value in inputs], **further))
        worst = differs(result, model, inputs)
    assert launches.count, "the kernel launched nothing"
    sizes = ", ".join(f"{name} = {value}" for name, value in constants.items())
    return (
        f"the kernel ran in Triton's interpreter, {launches.count} launches ({sizes}); largest difference {worst:.2g} "
        "of the largest value"
    )


def complete_interpreter() -> None:
    """Give Triton's interpreter what it lacks: functions of libdevice, and products in bfloat16."""
    import numpy as np
    from triton import language as tl
    from triton.language.extra import libdevice
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    for name in MATH:
        setattr(libdevice, name, lambda *values, name=name: getattr(tl.math, name)(*values))
    libdevice.tanh = lambda x: 2 * tl.sigmoid(2 * x.to(tl.float32)) - 1
    libdevice.nearbyint = lambda x: tl.where(tl.abs(x) < BIG / 2, (x + 1.5 * BIG) - 1.5 * BIG, x)
    libdevice.pow = lambda x, y: tl.exp2(y * tl.log2(x))  # of positive numbers
    own = InterpreterBuilder.create_dot

    def wide(operand: Any) -> Any:
        if operand.dtype.scalar != tl.bfloat16:
            return operand
        return TensorHandle((operand.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def dot(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        return own(builder, wide(a), wide(b), *rest)

    InterpreterBuilder.create_dot = dot


def inputs_of(reference: ModuleType, exported: ModuleType, device: str) -> list[Any]:
    """Make the reference's inputs, in the dtypes that the exported file names."""
    import torch

    torch.manual_seed(0)
    given = reference.get_inputs()
    dtypes = [argument[2] for argument in exported.ARGUMENTS if argument[1]]
    return [value.to(device, getattr(torch, name)) for value, name in zip(given, dtypes, strict=True)]


def loaded(name: str, path: Path, constants: dict[str, int]) -> ModuleType:
    """Import a file, with constants of its module replaced."""
    text = path.read_text()
    if constants:
        tree = ast.parse(text)
        for statement in tree.body:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if isinstance(statement, ast.Assign) and isinstance(target, ast.Name) and target.id in constants:
                statement.value = ast.Constant(constants[target.id])
        path = Path(tempfile.mkdtemp()) / path.name
        path.write_text(ast.unparse(tree))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton reads the source of functions by their module
    spec.loader.exec_module(module)
    return module


def made(module: ModuleType, kind: str, inputs: list[Any]) -> Any:
    """Make a model with the reference's arguments, in the dtype of the first floating-point input."""
    given = module.get_init_inputs()
    model = getattr(module, kind)(**given) if isinstance(given, dict) else getattr(module, kind)(*given)
    floating = [value.dtype for value in inputs if value.is_floating_point()]
    return model.to(floating[0]) if floating else model


def outputs(value: Any) -> list[Any]:
    """List the tensors of a result."""
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in outputs(part)] if isinstance(value, list | tuple) else [value]


def differs(result: list[Any], model: Any, inputs: list[Any]) -> float:
    """Return the largest difference to a model's result as a share of the largest value.

    Raises:
        AssertionError: shapes, dtypes or values differ, or whole numbers that neither ties nor rounding decide.
    """
    import torch

    def again() -> list[Any]:
        return outputs(model(*[value.clone() for value in inputs]))

    expected = again()
    whole = not all(one.is_floating_point() for one in expected)
    right, worst = loaded("undecided", UNDECIDED, {}).Right(expected, again=again if whole else None), 0.0
    for at, (own, other) in enumerate(zip(result, expected, strict=True)):
        assert (own.shape, own.dtype) == (other.shape, other.dtype), (
            f"{own.shape} {own.dtype}: {other.shape} {other.dtype}"
        )
        difference = right.gaps(at, own)
        if not own.is_floating_point():
            share = (difference > 0).double().mean().item()
            assert share < WHOLE, f"{share:.1%} of the whole numbers differ where neither ties nor rounding decide"
            continue
        assert torch.isfinite(own).all(), "not all values are finite"
        size = other.double().abs().max().item() or 1.0
        largest = difference.max().item() / size
        limit = ERROR[str(other.dtype).removeprefix("torch.")]
        assert largest <= limit, f"the result differs by {largest:.2g} of the largest value, more than {limit}"
        worst = max(worst, largest)
    return worst


class Launches:
    """Count what Triton launches inside the block, on a GPU or in its interpreter."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        from triton.runtime.interpreter import GridExecutor
        from triton.runtime.jit import JITFunction

        own, interpret = JITFunction.run, GridExecutor.__call__

        def run(function: Any, *given: Any, **named: Any) -> Any:
            self.count += not named.get("warmup")
            return own(function, *given, **named)

        def call(executor: Any, *given: Any, **named: Any) -> Any:
            self.count += 1
            return interpret(executor, *given, **named)

        JITFunction.run, GridExecutor.__call__ = run, call
        self._undo = lambda: (setattr(JITFunction, "run", own), setattr(GridExecutor, "__call__", interpret))

    def __exit__(self, *error: object) -> None:
        self._undo()


if __name__ == "__main__":
    raise SystemExit(main())
