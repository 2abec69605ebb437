"""Whole DAGs on real Snakemake, in a copy of the project that a test may edit."""

import compileall
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest
from forked_snakemake import COMMAND, Server
from loaded_modules import recorded
from local_models import KEYS, TOGETHER, kernel_server, write_models

from kopt.module_facts import module_facts
from kopt.preflight.check_seed import check_seed
from kopt.preflight.validate import validate

ROOT = Path(__file__).resolve().parents[2]
BEING_WRITTEN = shutil.ignore_patterns("*.pyc.*", "*.json.*")
"""Temporary files in `__pycache__`; the rest of it is copied, so that a copy need not compile and digest kopt."""
PARTS = ("Snakefile", "kopt", "workflow", "profiles", "config", "snakemake_logger_plugin_kopt")


@cache
def prepare() -> None:
    """Compile kopt and read from its modules what digests need, once, so that no copy and no process has to."""
    compileall.compile_dir(ROOT / "kopt", quiet=1, workers=1)
    for path in (ROOT / "kopt").rglob("*.py"):
        module_facts(path)


def copy_or_link(source: str, target: str) -> None:
    """Copy a file that a test may edit; link one of `__pycache__`, which is replaced as a whole if at all."""
    if "__pycache__" in source:
        with suppress(OSError):  # the other folder may be on another disk
            os.link(source, target)
            return
    shutil.copy2(source, target)


def pytest_configure(config):
    Project.settings = tuple(config.getoption("--settings").split())


def pytest_unconfigure():
    Project.server.stop()


class Project:
    """A copy of the project, and Snakemake run in it."""

    FAST = ("warm=true",)
    """Settings that come before those of a test: jobs are forked, unless the test says otherwise."""
    server = Server()
    settings: tuple[str, ...] = ()
    """Settings of all searches, as `--settings` of pytest says."""

    DRY = ("problem=softmax", "run=t", "rounds=2", "max_repairs=1", "models=[kopt-echo]", "judge=dry")
    MADE_UP = (
        "problem=softmax", "run=t", "rounds=1", "models=[kopt-rewrite]", "judge=dry_gpu", "benchmark_repeat=10",
        "max_repairs=1", "chunk_size=2", "workers_per_gpu=1",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        prepare()
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=BEING_WRITTEN, copy_function=copy_or_link)
            else:
                shutil.copy(ROOT / part, folder / part)

    def command(self, *config: str, options: tuple[str, ...] = (), full: bool = True) -> list[str]:
        """The command line; with `full`, Snakemake's own messages are written too."""
        own = ("--logger-kopt-full",) if full else ()
        return [*COMMAND, "--cores", "2", *own, *options, "--config", *self.FAST, *config, *self.settings]

    def environment(self) -> dict[str, str]:
        """The environment as a user has it: nothing in it says that this copy of kopt is to be run."""
        return dict(os.environ)

    def knows(self, store: Path) -> None:
        """Take over what a store holds."""
        shutil.copytree(store, self.folder / "results" / "store")

    def run(self, *config: str, options: tuple[str, ...] = (), full: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run_command(self.command(*config, options=options, full=full))

    def run_command(
        self, command: list[str], variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; Snakemake in a fork of a process that has imported it."""
        environ = self.environment() | dict(variables)
        if command[: len(COMMAND)] == COMMAND:
            return self.server.run(command, self.folder, environ)
        return subprocess.run(
            command, cwd=self.folder, env=environ, text=True, check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def succeeds(self, *config: str, options: tuple[str, ...] = ()) -> str:
        done = self.run(*config, options=options)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *config: str, targets: tuple[str, ...] = ()) -> set[str]:
        """Rules that would run now, for everything or for some files."""
        output = self.succeeds(*config, options=(*targets, "--dry-run", "--quiet", "rules"))
        return set(re.findall(r"^(\w+)\s+\d+$", output, re.M)) - {"total", "all"}

    def file(self, name: str) -> Path:
        return self.folder / "results" / "t" / name

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="session")
def new_project():
    """Makes a copy of the project in a folder, for fixtures that outlive a test."""
    return Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A dry run that has ended; its tests edit it and undo what they edited.  They all belong to the group `dag`."""
    project = Project(tmp_path_factory.mktemp("finished"))
    project.output = project.succeeds(*project.DRY)
    return project


@pytest.fixture(scope="session")
def seed_store(tmp_path_factory):
    """A store that holds the build and the verdict of softmax's seed kernel, for tests of something else."""
    store = tmp_path_factory.mktemp("seed") / "store"
    check_seed(validate({"problem": "softmax", "run": "t", "judge": "interpret", "store": str(store)}, ROOT))
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Serves kernels to the searches of the group `language`."""
    server = kernel_server(tmp_path_factory.mktemp("server") / "log.jsonl")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def searched(tmp_path_factory, server, seed_store):
    """A search by two served models and the rewriter that has ended, and which modules its scripts loaded."""
    project = Project(tmp_path_factory.mktemp("searched"))
    project.records = tmp_path_factory.mktemp("records")
    project.knows(seed_store)
    write_models(project.folder, server.port)
    before = server.served().total()
    with pytest.MonkeyPatch.context() as patch, recorded(project.records):
        for variable, key in KEYS.items():
            patch.setenv(variable, key)
        project.output = project.succeeds(*TOGETHER, "warm=false")
    project.served = server.served().total() - before
    return project


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A run on made-up GPUs that has ended, for tests of the group `plan`."""
    project = Project(tmp_path_factory.mktemp("made-up"))
    project.records = tmp_path_factory.mktemp("records")
    with recorded(project.records):
        project.output = project.succeeds(
            *project.MADE_UP,
            "warm=false",
            "learning=true",
            "experience=store",
            options=("--printshellcmds", "--resources", "gpu=2"),
        )
    return project
