"""Models served by a process on this machine, as a run's `config/models.yaml` names them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from llm_servers import FaultServer, base_url

HERE = Path(__file__).resolve().parent
KEYS = {"TEST_KEY_A": "plantedsecretA0123456789", "TEST_KEY_B": "plantedsecretB0123456789"}
PRICE = {"input": 2.0, "cached_input": 0.5, "cache_write": 2.5, "output": 10.0}
SMALL = ("problem=softmax", "run=t", "rounds=1", "candidate_pool_size=1", "num_bottlenecks=1", "max_repairs=1")
TOGETHER = (
    *SMALL, "models=[claude-local,gpt-local,kopt-rewrite]", "diagnosis=llm", "reflection=llm",
    "technique_clustering={enabled: true, classifier: both, classifier_model: gpt-local}",
)  # fmt: skip
"""Settings of a search by two models and the rewriter, in which a model does everything that a model can do."""


def kernel_server(log: Path, *options: str, program: str = "kernel_server.py") -> FaultServer:
    """A server whose replies are kernels."""
    return FaultServer(log, *options, program=HERE / program)


def write_models(folder: Path, port: int) -> None:
    """Models of three protocols on one server, two of them with one key.

    A job that asks the first one imports its SDK, which takes a CPU second: tests of something else ask the others.
    """
    entries = {
        "claude-local": {"provider": "anthropic", "key_variable": "TEST_KEY_A"},
        "gpt-local": {"provider": "openai", "key_variable": "TEST_KEY_B"},
        "gpt-chat": {"provider": "openai-chat", "key_variable": "TEST_KEY_A"},
    }
    for entry in entries.values():
        url = base_url(entry["provider"], port)
        entry |= {"api_model": "m", "base_url": url, "max_output_tokens": 4000, "price": PRICE}
    (folder / "config" / "models.yaml").write_text(yaml.safe_dump({"models": entries}))


def texts(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what is in them when they are a table or compressed."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        yield json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)


def spellings(key: str) -> list[bytes]:
    """A key as it is, and as a program may write it down."""
    raw = key.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), raw[::-1]]


def holding(folder: Path, words: Sequence[bytes]) -> list[Path]:
    """The files below a folder in which one of the words is."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(word in text for text in texts(path) for word in words)]
