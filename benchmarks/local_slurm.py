"""A real Slurm on this machine, for tests and benchmarks: munged, slurmctld and two slurmd with made-up GPUs.

It needs root, and Debian's packages of Slurm, which `missing` installs where it may.  It touches nothing outside its
folder but the ports that it picks.  Two slurmd of one host stand for two nodes; a GPU is a character device that
swallows everything.  There are neither cgroups nor accounting.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

NODES = {"node1": "fast", "node2": "slow"}
"""The nodes, and the model of each one's GPUs."""
GPUS_PER_NODE = 2
INSTALL_S = 60.0
"""Longest time for each step of an installation, s."""
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SECONDS = 60.0
"""Longest wait for a daemon."""

CONF = """\
ClusterName=kopt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldTimeout=60
SlurmdTimeout=60
KillWait=5
MinJobAge=86400
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP LLN=YES
"""


def missing(install: bool = False) -> str:
    """Return the reason why no Slurm can be started here; empty when one can.

    Args:
        install: install missing packages with apt-get first.
    """
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    if absent() and install and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False, "timeout": INSTALL_S}
        with suppress(subprocess.TimeoutExpired):  # no network
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES], **quiet)
    return f"programs are missing: {', '.join(absent())} (Debian: {' '.join(PACKAGES)})" if absent() else ""


def absent() -> list[str]:
    """List the programs of Slurm that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]


class Record(NamedTuple):
    """State of one job, as `squeue` and `scontrol` report it."""

    job: str
    """Number; `7_1` for a task of an array."""
    state: str
    node: str
    comment: str
    """The plugin's comment, which names the rule or group."""


class LocalSlurm:
    """A Slurm whose daemons live until `stop`."""

    def __init__(self, folder: Path, cpus: int = 16) -> None:
        """Write the configuration.

        Args:
            folder: holds everything that the daemons write; a short path, since it holds a socket.
            cpus: processors that each node claims to have.
        """
        self.folder = folder
        self.environ = os.environ | {
            "SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin"
        }  # fmt: skip
        for name in ("state", "bin", "dev"):
            (folder / name).mkdir(parents=True)
        self._write_configuration(cpus)
        self._wrap_srun()

    def start(self) -> None:
        """Start all daemons, and wait until the nodes are idle."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        words = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self.call("munged", "--force", *words, f"--seed-file={self.folder}/munged.seed")
        self.start_controller()
        for node in NODES:
            self.call("slurmd", "-N", node)
        self.wait_until(lambda: self.states() == dict.fromkeys(NODES, "idle"))

    def stop(self) -> None:
        """Cancel all jobs and end all daemons."""
        with suppress(subprocess.SubprocessError):
            for job in self.jobs():
                self.call("scancel", job)
            self.wait_until(lambda: not self.jobs(), 20)
        for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES), "munged"):
            self._end(name, signal.SIGTERM)

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers; it reads the state that an earlier one left."""
        self.call("slurmctld")
        self.wait_until(self._answers)

    def stop_controller(self) -> None:
        """End slurmctld; jobs run on without it."""
        self._end("slurmctld", signal.SIGTERM)

    def call(self, *command: str, seconds: float = SECONDS) -> str:
        """Run a command of Slurm; return what it printed."""
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise subprocess.SubprocessError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return the state of each node."""
        lines = self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def jobs(self, states: Sequence[str] = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")) -> list[str]:
        """List the jobs in some states, by their numbers."""
        return self.call("squeue", "-h", "-t", ",".join(states), "-o", "%i").split()

    def history(self) -> list[Record]:
        """Return the records of all jobs so far."""
        lines = self.call("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i|%T|%N|%k").splitlines()
        return [Record(*line.split("|", 3)) for line in lines]

    def node_of(self, job: str) -> str:
        """Return the node on which a job runs; empty when it runs on none."""
        return self.call("squeue", "-h", "-j", job, "-o", "%N").strip()

    def set_node(self, node: str, state: str) -> None:
        """Set a node's state, `down` or `resume`."""
        self.call("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def wait_until(self, reached: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait until something holds.

        Raises:
            TimeoutError: it does not hold after `seconds`.
        """
        until = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > until:
                raise TimeoutError(f"not reached after {seconds:g} s; logs are in {self.folder}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with suppress(subprocess.SubprocessError):
            return "is UP" in self.call("scontrol", "ping", seconds=5)
        return False

    def _end(self, name: str, number: signal.Signals) -> None:
        with suppress(OSError, ValueError):
            process = int((self.folder / f"{name}.pid").read_text())
            os.kill(process, number)
            with suppress(psutil.Error, TimeoutError):
                self.wait_until(lambda: psutil.Process(process).status() == psutil.STATUS_ZOMBIE, 20)

    def _write_configuration(self, cpus: int) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=200000 "
            f"Gres=gpu:{NODES[node]}:{GPUS_PER_NODE} State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        conf = CONF.format(folder=self.folder, host=host, ports=ports, nodes="\n".join(nodes), names=",".join(NODES))
        (self.folder / "slurm.conf").write_text(conf)
        lines = ["AutoDetect=off"]
        for node, model in NODES.items():
            for number in range(GPUS_PER_NODE):
                gpu = self.folder / "dev" / f"{node}-{number}"
                os.mknod(gpu, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
                lines.append(f"NodeName={node} Name=gpu Type={model} File={gpu}")
        (self.folder / "gres.conf").write_text("\n".join([*lines, ""]))

    def _wrap_srun(self) -> None:
        """Give jobs an `srun` that knows the configuration: the plugin drops SLURM_CONF before it calls srun."""
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
