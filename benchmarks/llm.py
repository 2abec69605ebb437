"""Measure a round of slow calls, 225 of 10 s each with a limit of 64: its time, memory and open files.

    python benchmarks/llm.py [--calls 225] [--latency 10] [--limit 64]

The server is the tests' own, a process on 127.0.0.1.  Four waves of 10 s are the least that 225 calls with a limit of
64 can take.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "llm"))  # its server is the tests' own

from llm_servers import PROTOCOLS, FaultServer, request_to, table_for

from kopt.llm.ask import ask
from kopt.llm.ledger import Ledger
from kopt.model.asking import CallOptions
from kopt.store import Store


class Watch(threading.Thread):
    """Watch this process: its most memory, and its most open files and sockets, five times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(os.getpid())
        self.memory = self.files = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Watch until `over` is set."""
        while not self.over.wait(0.2):
            self.memory = max(self.memory, self.process.memory_info().rss)
            self.files = max(self.files, self.process.num_fds())


def main() -> int:
    """Run the round, print its figures, and return 1 when it took 5 s longer than the least."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=225)
    parser.add_argument("--latency", type=float, default=10.0)
    parser.add_argument("--limit", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = FaultServer(folder / "server.jsonl", "--latency", str(options.latency))
        try:
            return _round(options, folder, server)
        finally:
            server.stop()


def _round(options: argparse.Namespace, folder: Path, server: FaultServer) -> int:
    table = table_for(server.port, concurrency=options.limit)
    prompt = "x" * 30_000
    asked = {f"s{n}": request_to(table, PROTOCOLS[n % 3], f"slot-{n} {prompt}") for n in range(options.calls)}
    ledger, store = Ledger(folder / "run" / "ledger.jsonl"), Store(folder / "store")
    watch = Watch()
    watch.start()
    start, cpu = time.monotonic(), time.process_time()
    replies = ask(asked, table=table, store=store, ledger=ledger, options=CallOptions(concurrency=options.limit))
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    watch.over.set()
    answered = sum(reply.status == "answered" for reply in replies.values())
    most = max(event["most_open"] for event in server.events("served"))
    waves = -(-options.calls // options.limit)
    print(f"{answered}/{options.calls} answered in {seconds:.1f} s; the least is {waves * options.latency:.1f} s")
    print(f"{server.served().total()} served, {ledger.cost().calls} in the ledger, at most {most} connections at once")
    print(f"memory at most {watch.memory / 2**20:.0f} MiB, open files at most {watch.files}, {cpu:.1f} s of CPU")
    again = time.monotonic()
    ask(asked, table=table, store=store, ledger=ledger, options=CallOptions(concurrency=options.limit))
    print(f"the same round again, all replies in the store: {time.monotonic() - again:.2f} s, nothing asked")
    return 0 if answered == options.calls and seconds <= waves * options.latency + 5 else 1


if __name__ == "__main__":
    sys.exit(main())
