"""Disturb searches on a real Slurm: does each end with the selection of an undisturbed one?

    python benchmarks/slurm.py [--only NAME ...] [--kills 20] [--seed 0] [--rounds 3] [--settings SETTING=VALUE ...]

Starts a Slurm of its own on this machine (root; Debian's packages): two nodes with two made-up GPUs each.  Every search
starts from an empty store with `--profile profiles/slurm`.  `judge=dry_gpu` searches ask Slurm for GPUs; in searches
with two served language models the server counts what is asked.  Prints a table; exits 1 when a search failed, when it
ended with another selection than one that ran without Slurm and undisturbed, or when an answered request was asked
again.  `--settings` adds settings to the searches on Slurm, not to those that they are compared with: `warm=true` must
change nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("workflow", "llm")]  # the server and the killing are theirs

import killed_search  # noqa: E402
from killed_search import Asked, Search, arrived, kill  # noqa: E402
from llm_servers import FaultServer  # noqa: E402
from local_models import KEYS, kernel_server, write_models  # noqa: E402
from local_slurm import LocalSlurm, missing  # noqa: E402

ON_GPUS = ("judge=dry_gpu", "models=[kopt-echo]", "baselines=[eager]")
ASKING = (
    "judge=dry", "models=[claude-local,gpt-local]", "max_repairs=0", "diagnosis=rules", "reflection=none",
    "llm={concurrency: 2}",
)  # fmt: skip
SMALL = ("--set-threads", "compile=2", "compile_seed=2", "compile_repair=2")


@dataclass
class Trial:
    """A search on Slurm that a scenario disturbs."""

    slurm: LocalSlurm
    search: Search
    server: FaultServer | None
    drawn: random.Random
    kills: int
    """Kills at random moments."""
    lost: int = 0
    """Calls that may have been in flight at kills."""
    left: int = 0
    """Jobs in Slurm at kills."""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.earlier = {record.job for record in self.slurm.history()}
        """Jobs of earlier searches."""

    def running(self, at_least: int = 2) -> str:
        """Wait until one of the search's jobs runs, not one of its first; return the job's number."""
        found: list[str] = []

        def started() -> bool:
            assert self.search.started[-1].poll() is None, "the search ended before it could be disturbed"
            records = [record for record in self.slurm.history() if record.job not in self.earlier]
            found[:] = [record.job for record in records if record.state == "RUNNING"]
            return len(records) >= at_least and bool(found)

        self.slurm.wait_until(started, 600)
        time.sleep(self.drawn.uniform(0, 8))
        return found[-1]


def undisturbed(trial: Trial) -> None:
    """Let it run."""
    trial.search.finish()


def node_fails(trial: Trial) -> None:
    """Set a node down while it runs a job, and bring it back ten seconds later: Slurm starts the job again."""
    process = trial.search.start()
    job = trial.running(6)
    node = trial.slurm.node_of(job)
    trial.slurm.set_node(node, "down")
    time.sleep(10)
    with suppress(subprocess.SubprocessError):  # it came back by itself
        trial.slurm.set_node(node, "resume")
    trial.notes.append(f"job {job} on {node}")
    trial.search.ends(process)


def job_cancelled(trial: Trial) -> None:
    """Cancel a running job: Snakemake submits it again."""
    process = trial.search.start()
    job = trial.running(6)
    trial.slurm.call("scancel", job)
    trial.notes.append(f"job {job}")
    trial.search.ends(process)


def controller_restarts(trial: Trial) -> None:
    """End slurmctld while a job runs, and start it again 30 seconds later."""
    process = trial.search.start()
    trial.running()
    trial.slurm.stop_controller()
    time.sleep(30)
    trial.slurm.start_controller()
    trial.search.ends(process)


def head_killed(trial: Trial) -> None:
    """Kill Snakemake while one of its jobs runs, then do what the guide says: `--unlock`, and the same command."""
    trial.search.start()
    trial.running()
    _kill_and_unlock(trial)
    trial.search.finish()


def killed_at_random(trial: Trial) -> None:
    """Kill Snakemake at random moments, again and again; a search that ended is begun anew with what it has stored.

    A moment is drawn as a number of files that the search has written since it went on, and up to 10 s after that, so
    that kills strike all of its steps however fast the machine is.
    """
    folder, ended = trial.search.folder / "results" / "t", 0
    for _ in range(trial.kills):
        goal = _files(folder) + trial.drawn.randint(1, 12)
        process = trial.search.start()
        trial.slurm.wait_until(lambda p=process, g=goal: p.poll() is not None or _files(folder) >= g, 600)
        time.sleep(trial.drawn.uniform(0, 10))
        if process.poll() is None:
            running = len(trial.slurm.jobs())
            _kill_and_unlock(trial)
            trial.left += running
        else:
            ended += 1
            trial.search.ends(process)
            _forget(trial.search.folder)
    trial.notes.append(f"{trial.kills - ended} of {trial.kills} kills struck, {trial.left} left jobs")
    trial.search.finish()


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def two_at_once(trial: Trial) -> None:
    """Run the same search from two folders on one store."""
    search = trial.search
    other = Search(search.folder.with_name("other"), search.command, search.config, search.environ)
    other.folder.mkdir()
    for one, process in [(one, one.start()) for one in (search, other)]:
        one.ends(process)
    assert other.ended_as() == search.ended_as(), "the two searches ended differently"


@dataclass(frozen=True)
class Scenario:
    """A way to disturb a search."""

    name: str
    disturb: Callable[[Trial], None]
    config: tuple[str, ...]
    """Settings of the search, also of the undisturbed one without Slurm."""
    chunk_size: int | None = None
    options: tuple[str, ...] = ()


ARRAYS = ("--slurm-array-jobs", "evaluate,profile")
SCENARIOS = [
    Scenario("undisturbed", undisturbed, ON_GPUS),
    Scenario("a node fails", node_fails, ON_GPUS),
    Scenario("a job is cancelled", job_cancelled, ON_GPUS),
    Scenario("job arrays", undisturbed, ON_GPUS, 2, ARRAYS),
    Scenario("undisturbed, language models", undisturbed, ASKING),
    Scenario("slurmctld restarts", controller_restarts, ASKING),
    Scenario("the head is killed", head_killed, ASKING),
    Scenario("two searches, one store", two_at_once, ASKING),
    Scenario("the head is killed at random moments", killed_at_random, ASKING),
]


def main() -> int:
    """Run the scenarios and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="names of disturbances")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="*", default=[], metavar="SETTING=VALUE", help="of the searches on Slurm")
    parser.add_argument("--limit", type=float, default=killed_search.SECONDS, help="longest wait for a search, s")
    options = parser.parse_args()
    killed_search.SECONDS = options.limit
    if reason := missing(install=True):
        print(f"not run: {reason}")
        return 0
    chosen = [one for one in SCENARIOS if not options.only or one.name in options.only]
    print(f"{'disturbance':<37} {'selection':<9} {'calls':<18} {'jobs':>4} {'s':>5}", flush=True)
    calm: dict[tuple[str, ...], Ended] = {}
    good = []
    with tempfile.TemporaryDirectory(prefix="kopt-") as name, slurm_in(Path(name) / "slurm") as slurm:
        for number, scenario in enumerate(chosen):
            if scenario.config not in calm:
                calm[scenario.config] = _calm(scenario.config, Path(name) / f"calm_{number}", options.rounds)
            folder = Path(name) / str(number)
            good.append(_run(scenario, folder, slurm, calm[scenario.config], options))
    return 0 if all(good) else 1


@contextmanager
def slurm_in(folder: Path) -> Iterator[LocalSlurm]:
    """Start a Slurm, and end it after the block."""
    slurm = LocalSlurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def _run(scenario: Scenario, folder: Path, slurm: LocalSlurm, calm: Ended, options: argparse.Namespace) -> bool:
    """Run a disturbed search, print its row, and return whether all is well."""
    profile = ("--profile", str(ROOT / "profiles" / "slurm"), *SMALL, *scenario.options)
    chunks = (f"chunk_size={scenario.chunk_size}",) if scenario.chunk_size else ()
    search, server = _search((*scenario.config, *chunks, *options.settings), folder, options.rounds, profile, slurm)
    trial = Trial(slurm, search, server, random.Random(options.seed), options.kills)
    start = time.monotonic()
    failure = ""
    try:
        scenario.disturb(trial)
    except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as error:
        failure = f"FAILED: {error}"
    finally:
        search.stop()
    seconds, asked = time.monotonic() - start, _stop(server)
    jobs = len(slurm.history()) - len(trial.earlier)
    same = not failure and search.ended_as() == calm.files
    again = (asked - calm.asked).total()
    calls = f"{asked.total()} of {calm.asked.total()}, {trial.lost} lost" if server else "none"
    notes = "; ".join([*trial.notes, failure[-1500:]])
    print(f"{scenario.name:<37} {'the same' if same else 'ANOTHER':<9} {calls:<18} {jobs:>4} {seconds:>5.0f}  {notes}")
    sys.stdout.flush()
    return same and again <= trial.lost


class Ended(NamedTuple):
    """Selection and best kernel of a search without Slurm and without disturbance."""

    files: list[bytes]
    asked: Asked


def _calm(config: tuple[str, ...], folder: Path, rounds: int) -> Ended:
    search, server = _search(config, folder, rounds, ("--cores", "2"), None)
    try:
        search.finish()
    finally:
        search.stop()
    return Ended(search.ended_as(), _stop(server))


def _search(
    settings: Sequence[str], folder: Path, rounds: int, options: Sequence[str], slurm: LocalSlurm | None
) -> tuple[Search, FaultServer | None]:
    (folder / "config").mkdir(parents=True)
    config = ["problem=softmax", "run=t", f"rounds={rounds}", "candidate_pool_size=2", *settings]
    server = None
    if set(ASKING) <= set(settings):
        server = kernel_server(folder / "server.jsonl", "--latency", "0.5")
        write_models(folder, server.port)
        config += [f"models_file={folder}/config/models.yaml", f"store={folder}/results/store"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *options, "--quiet", "all"]
    environ = (slurm.environ if slurm else os.environ) | KEYS
    return Search(folder, command, config, environ), server


def _kill_and_unlock(trial: Trial) -> None:
    before = arrived(trial.server).total() - trial.search.kept().total() if trial.server else 0
    kill(trial.search.started[-1])
    if trial.server:
        trial.lost = max(trial.lost, before, arrived(trial.server).total() - trial.search.kept().total())
    trial.search.finish("--unlock")


def _forget(folder: Path) -> None:
    """Remove the run, not its store."""
    shutil.rmtree(folder / "results" / "t")


def _stop(server: FaultServer | None) -> Asked:
    if server is None:
        return Asked()
    asked = arrived(server)
    server.stop()
    return asked


if __name__ == "__main__":
    sys.exit(main())
