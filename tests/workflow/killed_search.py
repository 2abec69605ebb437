"""A search that is killed while it asks language models and goes on as documented, and what its server saw of it."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from llm_servers import FaultServer, wait_until

from kopt import artifact

REPLY = re.compile(r"\[asked as (\w+) at (/\S+)\]")
SECONDS = 300.0
"""Longest wait for anything; only a search that hangs comes near."""

Asked = Counter[tuple[str, str]]
"""How often each prompt was asked, by the prompt's name and the path: samples are equal prompts."""


@dataclass(frozen=True)
class Search:
    """A search's command and where it runs."""

    folder: Path
    command: Sequence[str]
    """Snakemake with all options but `--config`."""
    config: Sequence[str]
    environ: Mapping[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own."""
        command = [*self.command, *options, "--config", *self.config]
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=dict(self.environ), stdout=output, stderr=output, start_new_session=True
            )
        self.started.append(process)
        return process

    def finish(self, *options: str) -> None:
        """Run to the end."""
        self.ends(self.start(*options))

    def ends(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a start's end, which must be a good one."""
        assert process.wait(SECONDS) == 0, (self.folder / "output").read_text()[-3000:]

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            if process.poll() is None:
                kill(process)

    def kept(self) -> Asked:
        """The replies that are in the store, by what they say of themselves."""
        files = (self.folder / "results" / "store" / "reply").glob("??/*.json")
        return Counter(found.groups() for file in files if (found := REPLY.search(file.read_text())))

    def ended_as(self) -> list[bytes]:
        """The bytes of all selections and of the best kernel."""
        run = self.folder / "results" / "t"
        return [f.read_bytes() for f in [*sorted(run.glob("round_*/selection.parquet")), run / "best_kernel.py"]]


@dataclass(frozen=True)
class Span:
    """From a start of the search to its kill, or to its end."""

    asked: Asked
    """What arrived at the server."""
    kept_before: Asked
    kept_after: Asked

    @property
    def lost(self) -> Asked:
        """What was in flight at the kill."""
        return self.asked - (self.kept_after - self.kept_before)


def arrived(server: FaultServer) -> Asked:
    """All calls that a server saw, once it has seen all that was sent."""
    for _ in range(2):  # what dead clients sent came in before
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/models", timeout=SECONDS).close()
    return Counter((event["slot"], event["path"]) for event in server.events("arrived"))


def gaps(count: int, replies: int, seed: int) -> list[int]:
    """How many replies to serve from each start to its kill, `count` draws that add up to fewer than `replies`."""
    ends = sorted(random.Random(seed).choices(range(replies), k=count))
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to its whole process group, waited for."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    wait_until(lambda: not _alive(process.pid), SECONDS)


def disturb(search: Search, server: FaultServer, moments: Sequence[int], pause: float | None = None) -> list[Span]:
    """Kill the search and go on, for each moment, then let it end.

    Args:
        search: not begun yet.
        server: answers its models, and nobody else.
        moments: how many replies to serve from a start to its kill; at least one call will have arrived.
        pause: longest further time before a kill, s, for moments at which anything may be going on; None: the server
            serves not one more than that, so that calls are in flight however long the kill takes.

    Returns:
        a span for each kill and the last one.
    """
    spans, draw, allowed = [], random.Random(len(moments)), Path(f"{server.log}.allowed")
    for moment in moments:
        before, kept = arrived(server), search.kept()
        goal = server.served().total() + moment
        if pause is None:
            artifact.write_text(allowed, str(goal))
        process = search.start()
        wait_until(partial(_struck, process, server, before.total() + 1, goal), SECONDS)
        time.sleep(draw.uniform(0, pause or 0))
        kill(process)
        search.finish("--unlock")
        spans.append(Span(arrived(server) - before, kept, search.kept()))
    allowed.unlink(missing_ok=True)
    before, kept = arrived(server), search.kept()
    search.finish()
    return [*spans, Span(arrived(server) - before, kept, search.kept())]


def faults(spans: Sequence[Span], needed: Asked, limit: int) -> list[str]:
    """What a disturbed search did that it must not, in words.

    Args:
        spans: what happened.
        needed: what an undisturbed search asks.
        limit: calls in flight at a time.
    """
    found = []
    for number, span in enumerate(spans):
        if again := span.asked - (needed - span.kept_before):
            found.append(f"span {number}: asked more than was missing: {dict(again)}")
        if span.lost.total() > (0 if span is spans[-1] else limit):
            found.append(f"span {number}: {span.lost.total()} calls brought nothing")
        if span.kept_before - span.kept_after:
            found.append(f"span {number}: kept replies are gone")
    if spans[-1].kept_after != needed:
        found.append("at the end other replies are kept than those of an undisturbed search")
    return found


def _struck(process: subprocess.Popen[bytes], server: FaultServer, arrivals: int, served: int) -> bool:
    assert process.poll() is None, "the search ended before its moment"
    return len(server.events("arrived")) >= arrivals and server.served().total() >= served


def _alive(group: int) -> bool:
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return False
