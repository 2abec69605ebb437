"""Models that cannot be asked end a run before anything is spent, by name."""

import socket

import pytest
import yaml
from llm_servers import PROTOCOLS, table_for

from kopt.errors import ConfigError
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


@pytest.mark.parametrize("replies", ["replay", "exchange"])
def test_without_calls_no_server_is_asked(table_file, replies):
    assert set(snapshot(table_file(closed_port()), ["openai"], replies).models) == {"openai"}
