"""The seam between kopt and protocols: one module a protocol, and nobody else knows one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from llm_servers import PROTOCOLS, request_to, table_for

from kopt import llm
from kopt.discovery import module_names
from kopt.llm.batch import ask_by_batch
from kopt.llm.exchange import exchange
from kopt.llm.provider import NotTheProtocol, Provider
from kopt.llm.registry import all_providers, provider_named
from kopt.llm.reply import NoReplyReason

FOLDER = Path(llm.__file__).parent
SHIPPED = Path(__file__).parents[2] / "config" / "models.yaml"


def test_every_module_of_the_folder_is_a_provider():
    assert all(isinstance(provider, Provider) for provider in all_providers())
    assert [provider.is_portable for provider in all_providers()].count(True) == 1
    assert {type(provider_named(name)) for name in PROTOCOLS} <= {type(provider) for provider in all_providers()}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_other_module_knows_a_protocol(path):
    """Neither as a text, nor as a name; docstrings may give examples."""
    tree = ast.parse(path.read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    docstrings = {node.value.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and is_text(node.value)}
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    words = [*(text for text in texts if text not in docstrings), *names]
    known = {name.replace("_", "-") for name in module_names("kopt.llm.providers")}
    assert [word for word in words if any(name == word.lower() for name in known)] == []


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_no_sdk_is_loaded_before_a_call():
    code = (
        "import sys, kopt.llm.ask, kopt.llm.batch, kopt.llm.doctor, kopt.llm.exchange, kopt.llm.forecast\n"
        "from kopt.llm.registry import all_providers\n"
        "all_providers()\n"
        "print([name for name in ('anthropic', 'openai', 'httpx2') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_table_is_checked_without_loading_a_provider():
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kopt.llm.table import load_table\n"
        f"load_table(Path({str(SHIPPED)!r}))\n"
        "print([name for name in sys.modules if name.startswith('kopt.llm.providers')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_provider_reads_its_own_bodies_only(name):
    bodies = {
        "anthropic": {"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"},
        "openai": {"output": [], "status": "completed"},
        "openai-chat": {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]},
    }
    for owner, body in bodies.items():
        if owner == name:
            assert provider_named(name).read(body).usage is None
        else:
            with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
                provider_named(name).read(body)
    assert issubclass(NotTheProtocol, ValueError)


@pytest.fixture
def without_batches(monkeypatch):
    """A provider that has no batch API, as a new one need not have."""
    monkeypatch.setattr(type(provider_named("anthropic")), "has_batches", False)


def test_by_batch_a_provider_without_batches_is_unanswered_with_a_way_out(
    without_batches, store, ledger, options, tmp_path
):
    table = table_for(9)
    asked = {"s": request_to(table, "anthropic", "x")}
    replies = ask_by_batch(asked, table=table, store=store, ledger=ledger, folder=tmp_path, options=options)
    assert replies["s"].reason is NoReplyReason.REJECTED
    assert "use delivery=direct" in replies["s"].detail
    assert ledger.cost().paid_usd == 0


def test_requests_to_a_provider_without_batches_are_exchanged_in_the_portable_protocol(
    without_batches, store, ledger, tmp_path
):
    table = table_for(9, extra={"top_k": 3})
    asked = {"s": request_to(table, "anthropic", "x")}
    exchange(asked, table=table, store=store, ledger=ledger, folder=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    (line,) = path.read_text().splitlines()
    assert path.name == "requests-anthropic.jsonl"
    assert json.loads(line)["url"] == "/v1/chat/completions"
    assert "top_k" not in json.loads(line)["body"]
