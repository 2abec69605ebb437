"""Use an exported kernel in a process without kopt, and compare it with the reference (for `benchmarks/operators.py`).

    python -I -S benchmarks/operators_use.py PROBLEM.py EXPORTED.py --packages SITE_PACKAGES

Python is started without site-packages, whose list of paths may lead to kopt; the folder with torch is added by hand.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ERROR = {"float16": 1e-2, "bfloat16": 4e-2, "float32": 1e-3, "float64": 1e-6}
"""Largest difference to the reference in float32, by dtype, as a share of the reference's largest value: this catches
a wrong export, not a lack of precision, which the search has judged."""


def main() -> int:
    """Call the exported kernel on the reference's inputs; the status is 1 where the result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", type=Path, help="problem.py")
    parser.add_argument("exported", type=Path, help="file of kopt export")
    parser.add_argument("--packages", required=True, help="folder with torch")
    parser.add_argument("--judge", default="auto", help="cuda: a GPU is needed; interpret: the CPU is used")
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

    device = "cuda" if options.judge == "cuda" or (options.judge == "auto" and torch.cuda.is_available()) else "cpu"
    reference, exported = loaded("reference", options.problem), loaded("exported", options.exported)
    torch.manual_seed(0)
    dtypes = [getattr(torch, name) for name in exported.DTYPES]
    given = reference.get_inputs()
    inputs = [value.to(device, dtype) for value, dtype in zip(given, dtypes, strict=True)]
    model = made(reference, reference.Model, dtypes).to(device)
    kernel = made(exported, exported.KernelModel, dtypes).to(device)
    kernel.load_state_dict(model.state_dict())
    launches = Launches()
    with torch.no_grad(), launches:
        result = outputs(kernel(*[value.clone() for value in inputs]))
    with torch.no_grad():
        expected = outputs(model(*[value.clone() for value in inputs]))
    worst = differs(result, expected)
    ran = f"{launches.count} launches of the kernel" if device == "cuda" else "PyTorch, since there is no GPU"
    print(f"{options.exported.name}: ran {ran}; largest difference {worst:.2g} of the largest value; kopt is not there")
    return int(device == "cuda" and not launches.count)


def loaded(name: str, path: Path) -> ModuleType:
    """Import a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton reads the source of functions by their module
    spec.loader.exec_module(module)
    return module


def made(module: ModuleType, kind: Any, dtypes: list[Any]) -> Any:
    """Make a model with the reference's arguments, in the dtype of the first floating-point input."""
    given = module.get_init_inputs()
    model = kind(**given) if isinstance(given, dict) else kind(*given)
    floating = [dtype for dtype in dtypes if dtype.is_floating_point]
    return model.to(floating[0]) if floating else model


def outputs(value: Any) -> list[Any]:
    """List the tensors of a result."""
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in outputs(part)] if isinstance(value, list | tuple) else [value]


def differs(result: list[Any], expected: list[Any]) -> float:
    """Return the largest difference as a share of the largest value.

    Raises:
        AssertionError: shapes, dtypes, whole numbers or values differ.
    """
    import torch

    worst = 0.0
    for own, other in zip(result, expected, strict=True):
        assert (own.shape, own.dtype) == (other.shape, other.dtype), (
            f"{own.shape} {own.dtype}: {other.shape} {other.dtype}"
        )
        if not own.is_floating_point():  # numbers of equal values may stand in another order: few of them differ
            share = (own != other).double().mean().item()
            assert share < 0.02, f"{share:.1%} of the whole numbers differ"
            continue
        assert torch.isfinite(own).all(), "not all values are finite"
        size = other.double().abs().max().item() or 1.0
        difference = (own.double() - other.double()).abs().max().item() / size
        limit = ERROR[str(other.dtype).removeprefix("torch.")]
        assert difference <= limit, f"the result differs by {difference:.2g} of the largest value, more than {limit}"
        worst = max(worst, difference)
    return worst


class Launches:
    """Count what Triton launches inside the block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        from triton.runtime.jit import JITFunction

        self._own = own = JITFunction.run

        def run(function: Any, *given: Any, **named: Any) -> Any:
            self.count += not named.get("warmup")
            return own(function, *given, **named)

        JITFunction.run = run

    def __exit__(self, *error: object) -> None:
        from triton.runtime.jit import JITFunction

        JITFunction.run = self._own


if __name__ == "__main__":
    raise SystemExit(main())
