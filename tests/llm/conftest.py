"""Fixtures: fault servers, options that fit tests, a store and a ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from llm_servers import FaultServer

from kopt.llm.ledger import Ledger
from kopt.model.asking import CallOptions
from kopt.store import Store


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., FaultServer]]:
    """Start fault servers; they end with the test."""
    started: list[FaultServer] = []

    def start(**options: object) -> FaultServer:
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        started.append(FaultServer(tmp_path / f"server{len(started)}.jsonl", *flags))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """One fault server for the tests whose prompts order their own faults."""
    server = FaultServer(tmp_path_factory.mktemp("server") / "log.jsonl")
    yield server
    server.stop()


@pytest.fixture
def options() -> CallOptions:
    """Impatient options: tests wait for nothing longer than they must."""
    return CallOptions(
        concurrency=32,
        deadline_seconds=5,
        give_up_seconds=30,
        max_tries=8,
        backoff_seconds=0.01,
        backoff_cap_seconds=0.05,
        poll_seconds=0.02,
        wait_seconds=20,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "run" / "ledger.jsonl")
