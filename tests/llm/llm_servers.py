"""Real local servers as processes of their own, and tables that point at them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kopt.llm.request import Message, Request
from kopt.llm.table import Model, ModelTable, Price

HERE = Path(__file__).resolve().parent
PROTOCOLS = ("anthropic", "openai", "openai-chat")
PRICE = Price(input=2.0, cached_input=0.5, cache_write=2.5, output=10.0, batch_factor=0.5)


class FaultServer:
    """The fault-injecting server, and what it says it did."""

    def __init__(self, log: Path, *options: str, program: Path = HERE / "fault_server.py") -> None:
        self.log = log
        self._events: list[dict[str, Any]] = []
        self._read = 0
        command = [sys.executable, "-S", str(program), "--log", str(log), *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(HERE)},  # servers of other folders import the fault server
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind; the log is read on from where the last call ended."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read)
                lines = log.read().rpartition(b"\n")[0]
            if lines:
                self._events += map(json.loads, lines.split(b"\n"))
                self._read += len(lines) + 1
        return [event for event in self._events if event["event"] == kind]

    def served(self) -> Counter[str]:
        return Counter(event["slot"] for event in self.events("served"))

    def arrived(self) -> Counter[str]:
        return Counter(event["slot"] for event in self.events("arrived"))

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)


def base_url(provider: str, port: int) -> str:
    return f"http://127.0.0.1:{port}" + ("" if provider == "anthropic" else "/v1")


def table_for(port: int, **changes: Any) -> ModelTable:
    """One model for each protocol, by the protocol's name, all on one server."""
    models = {}
    for provider in PROTOCOLS:
        fields = {"provider": provider, "api_model": "m", "base_url": base_url(provider, port), "price": PRICE}
        models[provider] = Model(**(fields | {"max_output_tokens": 1000, "concurrency": 64} | changes))
    return ModelTable(models=models)


def request_to(table: ModelTable, model: str, text: str, **more: Any) -> Request:
    messages = (Message(role="user", text=text),)
    return table.request(model, system="You write kernels.", messages=messages, template="test/1", **more)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.02)
