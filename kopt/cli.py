"""The command line: single kernels, settings, costs and replies.  A search itself is started with snakemake."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kopt import __version__
from kopt import config_docs as reference
from kopt.artifact import write_text
from kopt.config import Config
from kopt.errors import ConfigError, KoptError
from kopt.load_config import check_files, load, load_device, read
from kopt.model.build import Build, BuildFailed
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.preflight.validate import model_table
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.stages.compile import build_with_triton
from kopt.store import Store

N = TypeVar("N", int, float)
JUDGES = ("auto", "interpret", "cuda")
ROOT = Path(__file__).resolve().parent.parent
"""The checkout that kopt runs from: configuration and problems lie in it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 2 for bad input and for errors of ours, whatever they are."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KoptError as error:
        print(f"kopt: error: {error}", file=sys.stderr)
        return 2
    except Exception:  # noqa: BLE001 - the process ends here; 1 would say that a kernel did not pass
        traceback.print_exc()
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

    _add_evaluate(commands)
    _add_exploits(commands)
    _add_cost(commands)
    _add_replies(commands)
    doctor = commands.add_parser("doctor", help="check what a run needs: versions, GPU, cage, language models")
    doctor.add_argument("--json", action="store_true", help="print everything as JSON")
    _add_settings(doctor)
    doctor.set_defaults(command=_doctor)

    config = commands.add_parser("config", help="print all settings with their defaults")
    config.add_argument("--write", action="store_true", help="write the generated files into the checkout")
    config.set_defaults(command=_config)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="build, verify and time one kernel, as a search does")
    evaluate.add_argument("file", type=Path, help="the kernel's Python file")
    evaluate.add_argument("--problem", required=True, help="name of a problem, or its folder")
    evaluate.add_argument("--judge", choices=JUDGES, default="auto", help="auto: cuda where a GPU is visible")
    evaluate.add_argument(
        "--device",
        help="file in config/devices: what to estimate for (default h100); with judge cuda, what the GPU must be like",
    )
    evaluate.add_argument("--store", type=Path, help="keep PTX, cubin and the GPU's measured rates in this store")
    evaluate.add_argument("--seed", type=_whole, default=0, help="of the verification's inputs")
    evaluate.add_argument("--repeat", type=_count, default=Config().benchmark_repeat, help="timed calls on a GPU")
    evaluate.add_argument("--wait", type=_seconds, default=600.0, help="longest wait for a GPU that others hold, s")
    evaluate.add_argument("--json", action="store_true", help="print everything as JSON")
    evaluate.set_defaults(command=_evaluate)


def _add_exploits(commands: Any) -> None:
    exploits = commands.add_parser(
        "exploits", help="run the corpus of exploits and honest kernels; count who is caught"
    )
    exploits.add_argument("--judge", choices=JUDGES, default="auto", help="auto: cuda where a GPU is visible")
    exploits.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names of candidates; default: all")
    exploits.add_argument("--workers", type=_count, default=min(8, os.cpu_count() or 1), help="candidates at a time")
    exploits.add_argument("--seconds", type=_seconds, default=30.0, help="limit of one candidate in each layer, s")
    exploits.add_argument("--seed", type=_whole, default=0, help="of the verification's inputs")
    exploits.add_argument("--wait", type=_seconds, default=600.0, help="longest wait for a GPU that others hold, s")
    exploits.add_argument("--json", type=Path, metavar="FILE", help="write what became of each into this file")
    exploits.set_defaults(command=_exploits)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """The words that name a run's settings, as snakemake takes them."""
    parser.add_argument("--preset", help="name of a preset in config/presets")
    parser.add_argument("--configfile", type=Path, help="file of settings on top of the defaults")
    parser.add_argument("--config", nargs="+", default=[], metavar="NAME=VALUE", help="single settings")


def _add_cost(commands: Any) -> None:
    cost = commands.add_parser("cost", help="estimate what a run's language models will cost, or say what they did")
    cost.add_argument("--run", type=Path, help="a run's folder: what it has cost so far")
    cost.add_argument("--json", action="store_true", help="print everything as JSON")
    cost.add_argument("--slots", action="store_true", help="with --run: also by slot, and by each other thing asked")
    _add_settings(cost)
    cost.set_defaults(command=_cost)


def _add_replies(commands: Any) -> None:
    pack = commands.add_parser("pack", help="write a run's replies into one archive, to be replayed elsewhere")
    pack.add_argument("run", type=Path, help="the run's folder")
    pack.add_argument("--store", type=Path, default=Path(Config().store), help="the store that the run used")
    pack.add_argument("-o", "--output", type=Path, help="the archive to write (default: NAME.replies.tar)")
    pack.set_defaults(command=_pack)
    unpack = commands.add_parser("unpack", help="put an archive's replies into a store")
    unpack.add_argument("archive", type=Path)
    unpack.add_argument("--store", type=Path, default=Path(Config().store), help="the store to put them into")
    unpack.set_defaults(command=_unpack)
    replay = commands.add_parser("replay", help="replay a packed run from its archive: no server, no key, no cost")
    replay.add_argument("archive", type=Path)
    replay.add_argument("--run", default="", help="name of the replay (default: the run's)")
    replay.add_argument("--results", type=Path, default=Path(Config().results), help="folder of its folder")
    replay.add_argument("--store", type=Path, default=Path(Config().store), help="the store to put the replies into")
    replay.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    replay.set_defaults(command=_replay)


def _build(options: argparse.Namespace) -> int:
    problem = _problem(options.problem)
    _check_store(options.store)
    device = load_device(options.device, ROOT)
    kernel = Kernel(source=_source(options.file), entry=problem.seed.entry)
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        build_one = build_with_triton(
            problem, device, Store(options.store or Path(scratch)), workers=os.cpu_count() or 1,
            seconds=Config().limits.build_seconds,
        )  # fmt: skip
        with environment_set(NO_GPU):
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


def _evaluate(options: argparse.Namespace) -> int:
    from kopt.commands.evaluate import Task, check_on_gpu, check_without_gpu, in_words

    problem, limits = _problem(options.problem), Config().limits
    _check_store(options.store)
    task = Task(
        kernel=Kernel(source=_source(options.file), entry=problem.seed.entry), problem=problem, seed=options.seed,
        build_seconds=limits.build_seconds, judge_seconds=limits.judge_seconds, repeat=options.repeat,
        wait_s=options.wait,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        store = Store((options.store or Path(scratch)).resolve())
        if _uses_gpu(options.judge):
            one = check_on_gpu(task, load_device(options.device, ROOT) if options.device else None, store)
        else:
            one = check_without_gpu(task, load_device(options.device or Config().device, ROOT), store)
    print(json.dumps(one.model_dump(mode="json"), indent=1) if options.json else in_words(one))
    return 0 if one.status == "passed" else 1


def _exploits(options: argparse.Namespace) -> int:
    from kopt.commands import exploits

    plan = exploits.Plan(workers=options.workers, seconds=options.seconds, seed=options.seed, wait_s=options.wait)
    entries = exploits.chosen(ROOT, options.only)
    if options.json and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise ConfigError(f"--json {options.json}: name a file, in a folder that exists")
    results = exploits.on_gpu(entries, plan) if _uses_gpu(options.judge) else exploits.without_gpu(entries, plan, ROOT)
    print(exploits.table(results))
    if options.json:
        write_text(options.json, json.dumps([one.model_dump(mode="json") for one in results], indent=1) + "\n")
    return 1 if exploits.is_broken(results) else 0


def _uses_gpu(judge: str) -> bool:
    from kopt.device.hardware.gpus import visible_gpus

    return judge == "cuda" or (judge == "auto" and bool(visible_gpus(os.environ)))


def _settings(options: argparse.Namespace) -> Config:
    """The settings that a command line names, checked."""
    raw: dict[str, Any] = {"preset": options.preset} if options.preset else {}
    if options.configfile:
        raw |= read(_file(options.configfile, "a YAML file of settings"))
    for word in options.config:
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(f"--config {word}: write NAME=VALUE")
        try:
            raw[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # a date that cannot be is a ValueError
            raise ConfigError(f"--config {word}: {value!r} is not YAML") from error
    return load(raw, ROOT)


def _cost(options: argparse.Namespace) -> int:
    from kopt.commands.cost import cost_lines, forecast, forecast_lines, run_cost

    if options.run:
        cost = run_cost(options.run)
        lines = cost_lines(cost, slots=options.slots)
        print(json.dumps(cost.model_dump(mode="json"), indent=1) if options.json else "\n".join(lines))
        return 0
    config = _settings(options)
    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    found = forecast(config, table)
    as_json = [one.model_dump(mode="json") for one in found]
    print(json.dumps(as_json, indent=1) if options.json else "\n".join(forecast_lines(found)))
    return 0


def _pack(options: argparse.Namespace) -> int:
    from kopt.commands.cost import pack_run

    archive = options.output or Path(f"{options.run.resolve().name}.replies.tar")
    count = pack_run(options.run, Store(options.store), archive, ROOT)
    replies = f"{count} repl{'y' if count == 1 else 'ies'}"
    print(f"{replies} in {archive}: replay the run elsewhere with kopt replay {archive.name}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    from kopt.commands.replay import command, prepare

    results, store = options.results.resolve(), options.store.resolve()
    settings = prepare(_file(options.archive, "an archive of replies"), store, results, options.run)
    return subprocess.run(command(settings, options.cores), cwd=ROOT, check=False).returncode


def _unpack(options: argparse.Namespace) -> int:
    from kopt.commands.cost import unpack_run

    archive = _file(options.archive, "an archive of replies")
    print(f"{unpack_run(archive, Store(options.store))} replies put into {options.store}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """Print what there is, then faults; the status is 1 when there is one."""
    from kopt.commands.doctor import examine, in_words
    from kopt.problem.folder import load as load_problem

    config, faults = _settings(options), model_faults(options)
    models = "all is well" if config.asked_models else "no language model is asked"
    problem = load_problem(ROOT / config.problems / config.problem)
    found = examine(config.judge, problem, Store(Path(config.store)))
    if options.json:
        print(json.dumps(found.model_dump(mode="json") | {"models": faults}, indent=1))
    else:
        print("\n".join([*in_words(found), *(faults or [f"models: {models}"])]))
    return 1 if faults or found.faults else 0


def model_faults(options: argparse.Namespace) -> list[str]:
    """What is wrong with the language models of a run: unknown names, unset or refused keys, silent servers."""
    from kopt.llm.doctor import check_online

    config = _settings(options)
    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    return [finding.line for finding in check_online(table, config.asked_models)]


def _config(options: argparse.Namespace) -> int:
    if options.write:
        for path, text in reference.files().items():
            write_text(ROOT / path, text)
    else:
        print(reference.default_yaml(), end="")
    return 0


def _problem(word: str) -> Problem:
    from kopt.problem import folder

    return folder.load(folder.find(word, ROOT / Config().problems))


def _check_store(store: Path | None) -> None:
    """Refuse, before anything is spent, a store that cannot be a folder."""
    if store is None:
        return
    there = next(path for path in (store, *store.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(f"--store {store}: {'it' if there == store else there} is no folder")


def _file(path: Path, wanted: str) -> Path:
    """The path of a file; a pipe is none: to read it could take for ever."""
    with suppress(OSError):  # a name that is too long
        if path.is_file():
            return path
    raise ConfigError(f"{path} cannot be read: it is no file; give {wanted}")


def _source(file: Path) -> str:
    try:
        # a byte-order mark is no part of a kernel
        return _file(file, "a kernel's Python file").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} cannot be read: it is no UTF-8 text; give a kernel's Python file") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def _whole(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def _seconds(text: str) -> float:
    return _number(text, float, lambda value: 0.0 < value < math.inf, "a number of seconds above 0")


def _number(text: str, kind: Callable[[str], N], good: Callable[[N], bool], wanted: str) -> N:
    with suppress(ValueError):
        if good(value := kind(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")


if __name__ == "__main__":
    sys.exit(main())
