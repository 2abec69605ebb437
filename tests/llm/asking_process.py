"""A process that asks 240 requests, in a forked child for each line of its input, so that a test can kill the child.

Started with the port of a server and a folder; imports are paid once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llm_servers import PROTOCOLS, request_to, table_for

from kopt.llm.ask import ask
from kopt.llm.client import Clients
from kopt.llm.ledger import Ledger
from kopt.model.asking import CallOptions
from kopt.store import Store

COUNT = 240


def asked(port: int):
    table = table_for(port)
    return table, {f"slot-{n}": request_to(table, PROTOCOLS[n % 3], f"slot-{n}") for n in range(COUNT)}


def load_sdks(port: int) -> None:
    """Load what the SDKs load on their first call, so that the children have it."""
    Clients(CallOptions(), 1).open(table_for(port).models.values())


def main(port: int, folder: Path) -> None:
    load_sdks(port)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            table, requests = asked(port)
            ledger = Ledger(folder / "run" / "ledger.jsonl")
            ask(requests, table=table, store=Store(folder / "store"), ledger=ledger, options=CallOptions(concurrency=8))
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
