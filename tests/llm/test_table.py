"""The model table: whatever is wrong in it is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from llm_servers import request_to, table_for

from kopt.artifact import read_value, write_value
from kopt.errors import ConfigError
from kopt.llm.doctor import check_online
from kopt.llm.forecast import TYPICAL, Calls, estimate_cost, plan
from kopt.llm.reply import Usage
from kopt.llm.table import ModelTable, Price, key_faults, load_table

SHIPPED = Path(__file__).parents[2] / "config" / "models.yaml"
GOOD = {
    "provider": "openai",
    "api_model": "m",
    "base_url": "http://localhost/v1",
    "price": {"input": 1, "cached_input": 0.1, "cache_write": 1, "output": 2},
}


def line_for(tmp_path, change) -> str:
    entry = yaml.safe_load(yaml.safe_dump(GOOD))
    change(entry)
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"models": {"mine": entry}}))
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


WRONG = {
    "a missing price": (lambda e: e["price"].pop("output"), "models.mine.price.output is missing"),
    "no price": (lambda e: e.pop("price"), "models.mine.price is missing"),
    "a negative price": (lambda e: e["price"].update(input=-1), "models.mine.price.input: must be at least 0"),
    "a price in words": (lambda e: e["price"].update(input="cheap"), "models.mine.price.input"),
    "an infinite price": (lambda e: e["price"].update(input=float("inf")), "models.mine.price.input"),
    "a misspelled key": (lambda e: e.update(concurency=3), "did you mean 'concurrency'?"),
    "a misspelled price": (lambda e: e["price"].update(imput=3), "did you mean 'input'?"),
    "an unknown provider": (lambda e: e.update(provider="bard"), "a provider is 'anthropic', "),
    "no address": (lambda e: e.update(base_url="localhost"), "models.mine.base_url"),
    "a port that is none": (lambda e: e.update(base_url="http://host:port/v1"), "models.mine.base_url"),
    "a port that is too large": (lambda e: e.update(base_url="http://host:65536"), "models.mine.base_url"),
    "an address half written": (lambda e: e.update(base_url="http://[::1/v1"), "models.mine.base_url"),
    "an address without a host": (lambda e: e.update(base_url="http://:80/v1"), "models.mine.base_url"),
    "an address with a control character": (lambda e: e.update(base_url="http://host/\x7f"), "models.mine.base_url"),
    "a key of other scripts": (lambda e: e.update(key_variable="KEY１"), "must be the name of an environment variable"),
    "a number of other scripts": (lambda e: e.update(concurrency="１"), "models.mine.concurrency"),
    "a price that is none": (lambda e: e["price"].update(input=float("nan")), "models.mine.price.input"),
    "a password in the address": (lambda e: e.update(base_url="http://u:p@host/v1"), "models.mine.base_url"),
    "no concurrency": (lambda e: e.update(concurrency=0), "models.mine.concurrency"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_one_line_that_names_it(tmp_path, name):
    change, expected = WRONG[name]
    assert expected in line_for(tmp_path, change)


def test_a_key_written_where_its_variable_belongs_is_refused_and_not_repeated(tmp_path):
    line = line_for(tmp_path, lambda e: e.update(key_variable="sk-secret-0123456789"))
    assert "must be the name of an environment variable" in line
    assert "sk-secret" not in line


@pytest.mark.parametrize(
    "content", ["models: [", "[]", "3", "modles: {}", "models: 2026-13-01", "models: \x00", "[" * 5000]
)
def test_what_is_no_table_is_one_line(tmp_path, content):
    path = tmp_path / "models.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "models.yaml").write_bytes(b"models: \xff")
    with pytest.raises(ConfigError, match="not YAML"):
        load_table(tmp_path / "models.yaml")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_table(tmp_path / "none.yaml")


def test_the_shipped_table_has_the_presets_models_with_prices_and_key_variables():
    table = load_table(SHIPPED)
    exchanged = table.model("written")
    assert (exchanged.key_variable, exchanged.price.input, exchanged.price.output) == (None, 0.0, 0.0)
    table = table.only([name for name in table.models if name != "written"])
    assert set(table.models) == {"claude-opus-4.6", "claude-opus-4.5", "gpt-5", "gpt-5-4", "gemini-2-5-pro"}
    assert all(entry.price.output > entry.price.input > 0 for entry in table.models.values())
    assert len(key_faults(table, table.models, {})) == 5
    assert key_faults(table, ["gpt-5"], {"OPENAI_API_KEY": "x\n"}) == {}
    (line,) = key_faults(table, ["gpt-5"], {"OPENAI_API_KEY": "secret\nother"}).values()
    assert "OPENAI_API_KEY" in line
    assert "secret" not in line


def test_an_unknown_model_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'gpt-5-5'; did you mean 'gpt-5(-4)?'"):
        load_table(SHIPPED).model("gpt-5-5")


def test_a_snapshot_is_the_part_that_a_run_needs_and_survives_the_disk(tmp_path):
    part = load_table(SHIPPED).only(["gpt-5", "kopt-rewrite"])
    write_value(tmp_path / "models.json", part)
    assert list(part.models) == ["gpt-5"]
    assert read_value(tmp_path / "models.json", ModelTable) == part


def test_what_a_reply_depends_on_is_in_its_request_and_prices_and_addresses_are_not():
    table = table_for(1)
    first = request_to(table, "openai", "x")
    assert request_to(table_for(2, concurrency=3), "openai", "x").digest == first.digest
    different = [
        request_to(table_for(1, temperature=0.5), "openai", "x"),
        request_to(table_for(1, reasoning_effort="high"), "openai", "x"),
        request_to(table_for(1, extra={"top_p": 0.9}), "openai", "x"),
        request_to(table, "openai", "x", sample=1),
        request_to(table, "openai", "x", max_output_tokens=10),
        request_to(table, "openai-chat", "x"),
        request_to(table, "openai", "y"),
    ]
    assert len({first.digest, *(request.digest for request in different)}) == 8


def test_caching_saves_the_difference_and_writing_costs_extra():
    price = Price(input=5, cached_input=0.5, cache_write=6.25, output=25)
    assert price.saved(Usage(cached_input=1_000_000)) == pytest.approx(4.5)
    assert price.saved(Usage(cache_write=1_000_000)) == pytest.approx(-1.25)
    assert price.dollars(Usage(input=1_000_000, output=1_000_000)) == pytest.approx(30)


class TestDoctor:
    def test_it_finds_nothing_wrong_with_a_server_that_lists_the_model(self, plain_server):
        assert check_online(table_for(plain_server.port), table_for(1).models, {}) == []

    def test_it_names_a_server_that_cannot_be_reached(self):
        lines = [one.line for one in check_online(table_for(9), ["openai", "anthropic"], {}, seconds=5)]
        assert len(lines) == 2
        assert all("cannot be reached at http://127.0.0.1:9" in line for line in lines)

    def test_it_names_a_model_that_the_server_does_not_list(self, plain_server):
        ((line, passing),) = check_online(table_for(plain_server.port, api_model="mm"), ["openai"], {})
        assert not passing
        assert "does not list the model 'mm'; did you mean 'm'?" in line

    def test_it_names_keys_that_are_not_set(self):
        ((line, _),) = check_online(table_for(9, key_variable="NOT_SET"), ["openai"], {})
        assert "NOT_SET" in line


class TestForecast:
    def test_a_run_s_estimate_grows_with_its_slots_and_stays_below_its_worst(self):
        table = load_table(SHIPPED)
        small = estimate_cost(plan(["gpt-5"], rounds=2, slots_per_model=4, repairs=1), table)
        diagnoses = Calls(purpose="diagnose", model="gpt-5", calls=16)
        large = estimate_cost(
            plan(["gpt-5", "claude-opus-4.6"], rounds=8, slots_per_model=30, repairs=3, others=[diagnoses]),
            table,
        )
        assert 0 < sum(f.likely_usd for f in small) < sum(f.likely_usd for f in large)
        assert all(f.likely_usd <= f.most_usd for f in large)
        assert {f.purpose for f in large} == {"propose", "repair", "diagnose"}
        assert sum(f.calls for f in large if f.purpose == "propose") == 480

    @pytest.mark.parametrize(("longest", "price"), [(900, 2.0), (64000, 9.0)])
    def test_likely_is_never_above_at_most_however_short_the_replies_and_dear_the_cache(self, longest, price):
        entry = load_table(SHIPPED).model("claude-opus-4.6")
        dear = entry.price.model_copy(update={"cache_write": price})
        short = entry.model_copy(update={"max_output_tokens": longest, "price": dear})
        others = [Calls(purpose=name, model="m", calls=count) for name, count in (("classify", 13), ("reflect", 2))]
        calls = plan(["m"], rounds=2, slots_per_model=4, repairs=2, others=others)
        found = estimate_cost(calls, ModelTable(models={"m": short}))
        assert {f.purpose: f.calls for f in found} == {"propose": 8, "repair": 6, "classify": 13, "reflect": 2}
        assert all(f.likely_usd <= f.most_usd for f in found)

    def test_batches_cost_half_where_there_is_a_batch_price(self):
        calls = plan(["gpt-5"], rounds=1, slots_per_model=4, repairs=0)
        table = load_table(SHIPPED)
        (direct,), (batch,) = estimate_cost(calls, table), estimate_cost(calls, table, batch=True)
        assert batch.likely_usd == pytest.approx(direct.likely_usd / 2)

    def test_shared_parts_are_within_their_inputs(self):
        assert all(size.stable <= size.input for size in TYPICAL.values())
