"""The protocols as others understand them: servers from PyPI, written by others, each as a process of its own.

They cannot fail on purpose: rounds with faults go through a proxy, which passes their answers on or not.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from fault_proxy import AFTER, BEFORE, RETRY_AFTER_S, SLOW
from llm_servers import HERE, PRICE, FaultServer, base_url, request_to, wait_until

from kopt.llm.ask import ask
from kopt.llm.reply import Answered
from kopt.llm.table import Model, ModelTable
from kopt.llm.text.extract import Extracted, kernel_of

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


@pytest.fixture
def options(options):
    """No deadline that a busy machine could pass: it would be one more fault than the proxy counts."""
    return options.model_copy(update={"deadline_seconds": 120, "give_up_seconds": 240})


@pytest.fixture
def before(tmp_path):
    """Put the proxy before a server; faults in 30 % of calls."""
    started = []

    def start_proxy(port: int, seed: int = 0) -> FaultServer:
        options = ("--upstream", str(port), "--seed", str(seed), "--rate", "0.3")
        started.append(FaultServer(tmp_path / "server-proxy.jsonl", *options, program=HERE / "fault_proxy.py"))
        return started[-1]

    yield start_proxy
    for proxy in started:
        proxy.stop()


def table_of(port: int, *providers: str) -> ModelTable:
    models = {
        f"{provider}{'' if stream else '-whole'}": Model(
            provider=provider, api_model="gpt-4", base_url=base_url(provider, port), stream=stream, price=PRICE
        )
        for provider in providers
        for stream in (True, False)
    }
    return ModelTable(models=models)


def ninety(table: ModelTable, store, ledger, options):
    names = list(table.models)
    asked = {f"s{n}": request_to(table, names[n % len(names)], f"slot-{n}, please") for n in range(90)}
    return ask(asked, table=table, store=store, ledger=ledger, options=options)


def test_llm_mock_api_answers_ninety_slots_over_all_three_protocols(llm_mock_api, store, ledger, options):
    replies = ninety(table_of(llm_mock_api, "anthropic", "openai", "openai-chat"), store, ledger, options)
    assert {type(reply) for reply in replies.values()} == {Answered}
    assert all(isinstance(kernel_of(reply, "kernel_function"), Extracted) for reply in replies.values())
    assert {reply.text for reply in replies.values()} == {REPLY}
    cost = ledger.cost()
    assert (cost.calls, cost.lost, cost.turned_away) == (90, 0, 0), ledger.lines()
    assert cost.output == sum(reply.usage.output for reply in replies.values()) > 0
    assert not cost.estimated


def test_fakellm_answers_ninety_slots_and_counts_as_many_as_the_ledger(fakellm, store, ledger, options):
    before = served(fakellm)
    replies = ninety(table_of(fakellm, "anthropic", "openai-chat"), store, ledger, options)
    assert {reply.text for reply in replies.values()} == {REPLY}
    assert served(fakellm) - before == ledger.cost().calls == 90


def test_fakellm_streams_chat_without_a_token_count_which_is_then_estimated(fakellm, store, ledger, options):
    table = table_of(fakellm, "openai-chat")
    reply = ask(
        {"s": request_to(table, "openai-chat", "one")}, table=table, store=store, ledger=ledger, options=options
    )["s"]
    assert reply.usage.estimated
    assert reply.usage.dollars > 0


def test_fakellm_s_rate_limit_is_tried_again_until_the_tries_are_over(fakellm, store, ledger, options):
    table, before = table_of(fakellm, "anthropic", "openai-chat"), served(fakellm)
    whole = [name for name in table.models if name.endswith("-whole")]  # its streams know no errors
    asked = {name: request_to(table, name, "always limited") for name in whole}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert {(reply.reason, reply.tries) for reply in replies.values()} == {("rate", options.max_tries)}
    assert served(fakellm) - before == ledger.cost().turned_away == 2 * options.max_tries


def served(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_fakellm/stats", timeout=5) as answer:
        return int(json.load(answer)["total_requests"])


def check_against(proxy, replies, ledger):
    """Every slot has its reply, none was paid twice, and the ledger counts what the proxy counted."""
    assert {type(reply) for reply in replies.values()} == {Answered}
    assert {reply.text for reply in replies.values()} == {REPLY}
    arrived, served = proxy.events("arrived"), proxy.events("served")
    slots = [f"slot-{n}" for n in range(90)]
    assert Counter(event["slot"] for event in proxy.events("delivered")) == Counter(slots)
    faults = Counter(event["fault"] for event in arrived)
    assert set(faults) == {"none", SLOW, *BEFORE, *AFTER}
    assert faults["none"] + faults[SLOW] == 90  # nothing is asked again once it was answered
    cost = ledger.cost()
    assert cost.calls == len({line.request for line in ledger.lines()}) == 90
    assert cost.turned_away == faults["429"] + faults["500"] + faults["529"]
    assert cost.lost == faults["drop"] + faults["lost"] + faults["cut"]
    assert cost.calls + cost.turned_away + cost.lost == len(arrived)
    assert len(served) == 90 + faults["lost"] + faults["cut"]
    assert 0.2 < 1 - faults["none"] / len(arrived) < 0.4
    check_waits(arrived)


def check_waits(arrived):
    """After a 429 the same slot came back, and no sooner than `Retry-After` says."""
    for slot in {event["slot"] for event in arrived}:
        calls = [event for event in arrived if event["slot"] == slot]
        for call, following in pairwise(calls):
            assert call["fault"] in (*BEFORE, *AFTER)
            assert call["fault"] != "429" or following["time"] - call["time"] >= 0.9 * RETRY_AFTER_S


def test_llm_mock_api_s_ninety_slots_through_faults_are_each_paid_once(llm_mock_api, before, store, ledger, options):
    proxy = before(llm_mock_api)
    replies = ninety(table_of(proxy.port, "anthropic", "openai", "openai-chat"), store, ledger, options)
    check_against(proxy, replies, ledger)
    assert not ledger.cost().estimated
    assert ledger.cost().output == sum(event["made"] for event in proxy.events("delivered"))


def test_fakellm_s_ninety_slots_through_faults_are_each_paid_once(fakellm, before, store, ledger, options):
    counted, proxy = served(fakellm), before(fakellm)
    replies = ninety(table_of(proxy.port, "anthropic", "openai-chat"), store, ledger, options)
    check_against(proxy, replies, ledger)
    assert served(fakellm) - counted == len(proxy.events("served"))


def test_a_round_through_faults_costs_nothing_the_second_time(fakellm, before, store, ledger, options):
    proxy = before(fakellm, seed=1)
    table = table_of(proxy.port, "anthropic", "openai-chat")
    replies, counted = ninety(table, store, ledger, options), len(proxy.events("arrived"))
    assert ninety(table, store, ledger, options) == replies
    assert len(proxy.events("arrived")) == counted
