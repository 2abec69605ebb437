"""Check solutions that `kopt export --as flashinfer` wrote against the schema that FlashInfer-Bench publishes.

    pip download --no-deps flashinfer-bench
    kopt export results/RUN --as flashinfer -o solution.json
    python benchmarks/published_schemas.py flashinfer_bench-*.whl solution.json

The schema is FlashInfer-Bench's own pydantic model, read out of its wheel without the package's other dependencies.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError


def solution_model(wheel: Path) -> Any:  # a class of the wheel
    """Import the class `Solution` from a wheel, with nothing but the modules that it needs."""
    for name in ("flashinfer_bench", "flashinfer_bench.data"):
        package = ModuleType(name)
        package.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    return import_module("flashinfer_bench.data.solution").Solution


def main() -> None:
    """Print a line for each file; the status is 1 where one is refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="wheel of flashinfer-bench")
    parser.add_argument("solutions", type=Path, nargs="+")
    options = parser.parse_args()
    model, refused = solution_model(options.wheel), 0
    for path in options.solutions:
        try:
            solution = model.model_validate_json(path.read_bytes())
            print(f"{path}: valid, {solution.name} for {solution.definition}, {solution.spec.entry_point}")
        except ValidationError as error:
            refused += 1
            print(f"{path}: {error}")
    sys.exit(refused > 0)


if __name__ == "__main__":
    main()
