"""Check solutions that `kopt export` wrote against the schemas that FlashInfer-Bench and SOL-ExecBench publish.

    pip download --no-deps flashinfer-bench
    kopt export results/RUN --as flashinfer -o solution.json
    python benchmarks/published_schemas.py flashinfer_bench-*.whl solution.json

    git clone https://github.com/NVIDIA/SOL-ExecBench
    kopt export results/RUN --as sol-execbench -o solution.json
    python benchmarks/published_schemas.py SOL-ExecBench/src solution.json

The schemas are the benchmarks' own pydantic models, read without their packages' other dependencies.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

PACKAGES = (("flashinfer_bench", "data"), ("sol_execbench", "core.data"))
"""Packages, and where in them the schema lies."""


def solution_model(source: Path) -> Any:  # a class of the package
    """Import the class `Solution` from a wheel or a folder of packages, with nothing but the modules that it needs."""
    there = zipfile.Path(source) if source.suffix == ".whl" else source
    package, inner = next((name, inner) for name, inner in PACKAGES if (there / name).is_dir())
    parts = [package, *inner.split(".")]
    for end in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:end]))
        module.__path__ = [f"{source}/{'/'.join(parts[:end])}"]
        sys.modules[module.__name__] = module
    return import_module(f"{package}.{inner}.solution").Solution


def main() -> None:
    """Print a line for each file; the status is 1 where one is refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="wheel of flashinfer-bench, or the folder src of SOL-ExecBench")
    parser.add_argument("solutions", type=Path, nargs="+")
    options = parser.parse_args()
    model, refused = solution_model(options.package), 0
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
