"""SIGKILL at random moments, counted by what the server has served: nothing that was completed is asked again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from asking_process import COUNT, asked
from llm_servers import HERE, wait_until

from kopt.llm.ask import replay
from kopt.llm.ledger import Ledger
from kopt.store import Store

KILLS = 20


@pytest.fixture
def asker(serve, tmp_path):
    """The server and a process whose children ask it."""
    server = serve(latency=0.03)
    command = [sys.executable, str(HERE / "asking_process.py"), str(server.port), str(tmp_path)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    yield server, process
    process.stdin.close()
    process.wait(20)


def begin(process) -> int:
    process.stdin.write("go\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.mark.xdist_group("killed asker")
def test_after_twenty_kills_every_reply_is_there_and_none_was_asked_again_once_it_was_kept(asker, tmp_path):
    server, process = asker
    _, requests = asked(server.port)
    draw = random.Random(11)
    kept: set[str] = set()
    before = Counter()
    for _ in range(KILLS):
        aim = server.served().total() + draw.randint(0, 4)
        child = begin(process)
        wait_until(lambda aim=aim: server.served().total() >= aim)
        os.kill(child, signal.SIGKILL)
        assert int(process.stdout.readline()) == signal.SIGKILL
        now = server.arrived()
        assert not (now - before).keys() & kept
        before = now
        kept = {name for name, reply in known(requests, tmp_path).items() if reply.status == "answered"}
    begin(process)
    assert int(process.stdout.readline()) == 0
    assert not (server.arrived() - before).keys() & kept
    assert {reply.status for reply in known(requests, tmp_path).values()} == {"answered"}
    check_ledger(server, tmp_path)


def known(requests, folder):
    return replay(requests, store=Store(folder / "store"))


def check_ledger(server, folder):
    ledger = Ledger(folder / "run" / "ledger.jsonl")
    ledger.refresh()
    cost = ledger.cost()
    assert cost.calls == COUNT
    assert cost.calls + cost.lost >= server.arrived().total()
    assert cost.lost <= KILLS * 8
