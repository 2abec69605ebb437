"""Models that cannot be asked end a run before anything is spent, by name."""

import logging
import socket

import pytest
import yaml
from llm_servers import PROTOCOLS, table_for

from kopt.errors import ConfigError
from kopt.llm.doctor import check_online
from kopt.llm.table import ModelTable
from kopt.stages.models import snapshot


@pytest.fixture
def table_file(tmp_path):
    """Writes a table of models of every protocol, and says where."""

    def write(port: int, **changes: object):
        models = table_for(port, **changes).model_dump(mode="json")["models"]
        (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": models}))
        return tmp_path / "models.yaml"

    return write


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_models_that_can_be_asked_are_kept_with_the_run(table_file, plain_server):
    assert set(snapshot(table_file(plain_server.port), PROTOCOLS, "live").models) == set(PROTOCOLS)


def test_a_refused_key_is_named_by_model_server_and_variable(table_file, serve, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "the-wrong-one")
    server = serve(key="the-right-one")
    with pytest.raises(ConfigError) as caught:
        snapshot(table_file(server.port, key_variable="TEST_KEY"), PROTOCOLS, "live")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(PROTOCOLS)
    for name, line in zip(PROTOCOLS, lines, strict=True):
        assert f"models: {name}: the key in TEST_KEY was refused by http://127.0.0.1:{server.port}" in line
    assert "the-wrong-one" not in str(caught.value)


def test_a_model_that_is_not_served_is_named_with_the_nearest(table_file, plain_server):
    with pytest.raises(ConfigError, match="does not list the model 'mm'; did you mean 'm'"):
        snapshot(table_file(plain_server.port, api_model="mm"), ["openai"], "live")


def test_a_server_that_cannot_be_reached_is_named(table_file):
    with pytest.raises(ConfigError, match=r"cannot be reached at http://127\.0\.0\.1:\d+.*replies=replay"):
        snapshot(table_file(closed_port()), ["openai"], "live")


def test_every_line_names_the_key_s_variable(table_file, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "a-secret-of-ours")
    with pytest.raises(ConfigError, match="TEST_KEY") as caught:
        snapshot(table_file(closed_port(), key_variable="TEST_KEY"), PROTOCOLS, "live")
    assert all("its key is in TEST_KEY" in line for line in str(caught.value).splitlines())
    assert "a-secret-of-ours" not in str(caught.value)


def test_a_server_that_wants_a_key_of_an_entry_without_one_is_named(table_file, serve):
    with pytest.raises(ConfigError, match=r"wants a key \(401\), and the entry names no key_variable"):
        snapshot(table_file(serve(key="some").port), ["openai"], "live")


def test_a_host_without_an_address_is_one_that_cannot_be_reached(table_file):
    with pytest.raises(ConfigError, match=r"cannot be reached at http://no-such-host\.invalid/v1"):
        snapshot(table_file(1, base_url="http://no-such-host.invalid/v1"), ["openai"], "live")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_a_list_of_models_is_taken_at_its_word(table_file, serve, status, caplog):
    caplog.set_level(logging.WARNING)
    snapshot(table_file(serve(listing=status).port), PROTOCOLS, "live")
    assert caplog.text == ""


@pytest.mark.parametrize("instead", [429, 500, 529, "html"])
def test_a_server_that_is_busy_or_broken_is_a_warning(table_file, serve, instead, caplog):
    caplog.set_level(logging.WARNING)
    port = serve(listing=instead).port
    assert set(snapshot(table_file(port), PROTOCOLS, "live").models) == set(PROTOCOLS)
    assert [f"http://127.0.0.1:{port}" in record.message for record in caplog.records] == [True] * len(PROTOCOLS)


def test_a_server_that_never_answers_is_waited_for_no_longer_than_allowed(serve):
    found = check_online(table_for(serve(listing="hang").port), PROTOCOLS, {}, seconds=0.5)
    assert [finding.passing for finding in found] == [True] * len(PROTOCOLS)
    assert all("takes connections and does not answer" in finding.line for finding in found)


def test_each_server_is_asked_once_whatever_the_number_of_its_models(serve):
    server = serve(models="m,n")
    one = table_for(server.port).model("openai")
    other = one.model_copy(update={"provider": "openai-chat", "api_model": "n"})
    table = ModelTable(
        models={"one": one, "two": one, "three": other, "four": table_for(server.port).model("anthropic")}
    )
    assert check_online(table, table.models, {}) == []
    assert len(server.events("listed")) == 2


@pytest.mark.parametrize("replies", ["replay", "exchange"])
def test_without_calls_no_server_is_asked(table_file, replies):
    assert set(snapshot(table_file(closed_port()), ["openai"], replies).models) == {"openai"}
