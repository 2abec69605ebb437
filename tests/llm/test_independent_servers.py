"""The protocols as others understand them: servers from PyPI that we did not write, each as a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from llm_servers import PRICE, base_url, request_to, wait_until

from kopt.llm.ask import ask
from kopt.llm.extract import Extracted, kernel_of
from kopt.llm.reply import Answered
from kopt.llm.table import Model, ModelTable

REPLY = "Here it is.\n\n```python\nimport triton\n\n\ndef kernel_function(x):\n    return x\n```\n"

FAKELLM = """\
version: 1
rules:
  - name: limited
    when: {messages_contain: "always limited"}
    respond: {status: 429, error: "slow down"}
  - name: kernel
    respond: {content: %s}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(*command: str, port: int, cwd: Path) -> subprocess.Popen[bytes]:
    tool = str(Path(sys.executable).parent / command[0])
    process = subprocess.Popen([tool, *command[1:]], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: answers(port))
    return process


@pytest.fixture(scope="module")
def fakellm(tmp_path_factory):
    """fakellm: Chat Completions and Messages; it counts what it serves."""
    folder, port = tmp_path_factory.mktemp("fakellm"), free_port()
    (folder / "fakellm.yaml").write_text(FAKELLM % json.dumps(REPLY))
    process = start("fakellm", "serve", "--port", str(port), port=port, cwd=folder)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def llm_mock_api(tmp_path_factory):
    """llm-mock-api: Chat Completions, Responses and Messages."""
    folder, port = tmp_path_factory.mktemp("mock"), free_port()
    process = start("llm-mock-api", "start", "-p", str(port), "-f", REPLY, "-c", "40", port=port, cwd=folder)
    yield port
    process.terminate()
    process.wait(10)


def table_of(port: int, *providers: str) -> ModelTable:
    models = {
        f"{provider}{'' if stream else '-whole'}": Model(
            provider=provider, api_model="gpt-4", base_url=base_url(provider, port), stream=stream, price=PRICE
        )
        for provider in providers
        for stream in (True, False)
    }
    return ModelTable(models=models)


def ninety(table: ModelTable, store, ledger, terms):
    names = list(table.models)
    asked = {f"s{n}": request_to(table, names[n % len(names)], f"slot {n}, please") for n in range(90)}
    return ask(asked, table=table, store=store, ledger=ledger, terms=terms)


def test_llm_mock_api_answers_ninety_slots_over_all_three_protocols(llm_mock_api, store, ledger, terms):
    patience = terms.patience.model_copy(update={"deadline_seconds": 60})
    terms = terms.model_copy(update={"patience": patience})
    replies = ninety(table_of(llm_mock_api, "anthropic", "openai", "openai-chat"), store, ledger, terms)
    assert {type(reply) for reply in replies.values()} == {Answered}
    assert all(isinstance(kernel_of(reply, "kernel_function"), Extracted) for reply in replies.values())
    assert {reply.text for reply in replies.values()} == {REPLY}
    bill = ledger.bill()
    assert (bill.calls, bill.lost, bill.turned_away) == (90, 0, 0), ledger.lines()
    assert bill.usage.output == sum(reply.usage.output for reply in replies.values()) > 0
    assert not bill.usage.estimated


def test_fakellm_answers_ninety_slots_and_counts_as_many_as_the_ledger(fakellm, store, ledger, terms):
    before = served(fakellm)
    replies = ninety(table_of(fakellm, "anthropic", "openai-chat"), store, ledger, terms)
    assert {reply.text for reply in replies.values()} == {REPLY}
    assert served(fakellm) - before == ledger.bill().calls == 90


def test_fakellm_streams_chat_without_a_token_count_which_is_then_estimated(fakellm, store, ledger, terms):
    table = table_of(fakellm, "openai-chat")
    reply = ask({"s": request_to(table, "openai-chat", "one")}, table=table, store=store, ledger=ledger, terms=terms)[
        "s"
    ]
    assert reply.usage.estimated
    assert reply.usage.dollars > 0


def test_fakellm_s_rate_limit_is_tried_again_until_the_tries_are_over(fakellm, store, ledger, terms):
    table, before = table_of(fakellm, "anthropic", "openai-chat"), served(fakellm)
    whole = [name for name in table.models if name.endswith("-whole")]  # its streams know no errors
    asked = {name: request_to(table, name, "always limited") for name in whole}
    replies = ask(asked, table=table, store=store, ledger=ledger, terms=terms)
    assert {(reply.kind, reply.tries) for reply in replies.values()} == {("rate", terms.patience.max_tries)}
    assert served(fakellm) - before == ledger.bill().turned_away == 2 * terms.patience.max_tries


def served(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_fakellm/stats", timeout=5) as answer:
        return int(json.load(answer)["total_requests"])
