"""The command line: `kopt build`, `kopt config`.  A search itself is started with snakemake."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from kopt import __version__, reference
from kopt.artifact import write_text
from kopt.config import Config, load_device
from kopt.errors import ConfigError, KoptError
from kopt.model.build import Build, BuildFailed
from kopt.model.kernel import Kernel
from kopt.stages.compile import build_with_triton
from kopt.store import Store

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that kopt runs from: configuration and problems lie in it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KoptError as error:
        print(f"kopt: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kopt", description="A reproducible search for faster GPU kernels.")
    parser.add_argument("--version", action="version", version=f"kopt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="trace and compile one kernel without a GPU")
    build.add_argument("file", type=Path, help="the kernel's Python file")
    build.add_argument("--problem", required=True, help="name of a problem, or its folder")
    build.add_argument("--device", default="h100", help="device to build for, a file in config/devices")
    build.add_argument("--store", type=Path, help="keep PTX and cubin in this store")
    build.add_argument("--json", action="store_true", help="print the whole build as JSON")
    build.set_defaults(command=_build)

    config = commands.add_parser("config", help="print all settings with their defaults")
    config.add_argument("--write", action="store_true", help="write the generated files into the checkout")
    config.set_defaults(command=_config)
    return parser


def _build(options: argparse.Namespace) -> int:
    from kopt.problem.folder import load

    problem = load(_problem_folder(options.problem))
    device = load_device(options.device, ROOT)
    kernel = Kernel(source=_source(options.file), entry=problem.seed.entry)
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        build_one = build_with_triton(
            problem, device, Store(options.store or Path(scratch)), workers=os.cpu_count() or 1,
            seconds=Config().limits.build_seconds,
        )  # fmt: skip
        build = build_one([kernel])[0]
    print(json.dumps(build.model_dump(mode="json"), indent=1) if options.json else _in_words(build))
    return 1 if isinstance(build, BuildFailed) else 0


def _in_words(build: Build) -> str:
    if isinstance(build, BuildFailed):
        return f"failed in {build.phase}: {build.reason}"
    lines = [f"built, fingerprint {build.fingerprint}"]
    for workload in build.workloads:
        lines.append(f"workload {workload.workload}: {len(workload.host_ops)} host operations")
        for launch in workload.launches:
            lines.append(
                f"  {launch.kernel} grid {'x'.join(map(str, launch.grid))} warps {launch.num_warps} "
                f"stages {launch.num_stages} shared {launch.shared_bytes} B registers {launch.registers} "
                f"spills {launch.spills} B{' (autotune trial)' if launch.trial else ''}"
            )
    return "\n".join(lines)


def _config(options: argparse.Namespace) -> int:
    if options.write:
        for path, text in reference.files().items():
            write_text(ROOT / path, text)
    else:
        print(reference.default_yaml(), end="")
    return 0


def _problem_folder(name: str) -> Path:
    return Path(name) if "/" in name else ROOT / Config().problems / name


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
