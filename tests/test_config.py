import contextlib
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kopt import config, config_docs, load_config
from kopt.backends.backend import load_backend
from kopt.errors import ConfigError
from kopt.preflight.validate import load_settings
from kopt.run_settings import RunSettings

ROOT = Path(__file__).resolve().parent.parent
SLOTS = {
    "beam_search": 4,
    "nvidia": 4,
    "greedy": 1,
    "noop": 1,
    "beam_search_diverse_smoke": 9,
    "beam_search_diverse": 90,
    "beam_search_diverse_concentrated": 90,
    "beam_search_diverse_clustered": 90,
    "beam_search_diverse_clustered_xl": 225,
}


def raw(preset: str) -> dict:
    return yaml.safe_load((ROOT / "config" / "presets" / f"{preset}.yaml").read_text())


def test_all_presets_are_there():
    assert {path.stem for path in (ROOT / "config" / "presets").glob("*.yaml")} == set(SLOTS)


@pytest.mark.parametrize(("preset", "slots"), SLOTS.items())
def test_a_presets_slots_follow_from_the_formula(preset, slots):
    loaded = load_config.load(raw(preset), ROOT)
    assert (RunSettings(loaded).fan_out, loaded.preset) == (slots, preset)


@pytest.mark.parametrize("preset", SLOTS)
def test_every_preset_warms_up_25_and_repeats_100(preset):
    loaded = load_config.load(raw(preset), ROOT)
    assert (loaded.benchmark_warmup, loaded.benchmark_repeat) == (25, 100)


def test_models_on_the_command_line_change_the_fan_out_of_a_preset():
    loaded = load_config.load(raw("beam_search_diverse") | {"models": ["kopt-rewrite"]}, ROOT)
    assert RunSettings(loaded).fan_out == 30


@pytest.mark.parametrize("preset", SLOTS)
def test_a_preset_that_is_named_is_loaded(preset):
    assert load_config.load({"preset": preset}, ROOT) == load_config.load(raw(preset), ROOT)


def test_settings_stand_over_the_preset_and_the_preset_over_the_defaults_file(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config" / "config.yaml").write_text("{seed: 7, rounds: 3, technique_clustering: {max_concurrency: 9}}")
    loaded = load_config.load({"preset": "noop", "rounds": 2, "stop": {"patience": 4}}, tmp_path)
    assert (loaded.seed, loaded.rounds, loaded.strategy, loaded.stop.patience) == (7, 2, "noop", 4)
    assert (loaded.technique_clustering.max_concurrency, loaded.stop.roofline_share) == (9, 0.95)


def test_declared_slots_must_follow_from_the_formula():
    with pytest.raises(ConfigError, match="slots: 7 declared, but candidate_pool_size 2"):
        load_config.load({"slots": 7}, ROOT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidate_pool_sise": 3}, "unknown key 'candidate_pool_sise'; did you mean 'candidate_pool_size'"),
        ({"stop": {"patiense": 3}}, "unknown key 'stop.patiense'; did you mean 'patience'"),
        ({"num_top_kernels": 3}, "num_top_kernels was replaced by candidate_pool_size"),
        ({"num_expanding_parents": 3}, "num_expanding_parents was replaced by candidate_pool_size"),
        ({"candidate_pool_size": -1}, "candidate_pool_size: .*got -1"),
        ({"preset": "beam_serch"}, "unknown preset 'beam_serch'; did you mean 'beam_search'"),
        ({"problem": None}, "problem: "),
        ({"problem": "../../etc"}, "problem: "),
        ({"models": ["kopt-rewrite", "kopt-rewrite"]}, "a name stands twice"),
        ({"run": "../elsewhere"}, "run: "),
        ({"run": "store"}, "cannot be the name of a run"),
        ({"judge": "cuda?"}, "judge: "),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config.load(settings, ROOT)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": []}, "name at least one proposer"),
        ({"strategy": "greedy"}, "strategy greedy follows one lineage: .* must come to one slot, not 4"),
        ({"strategy": "greedy", "technique_clustering": {"enabled": True}}, "keeps one kernel, so there is nothing to"),
        ({"technique_clustering": {"classifier": "llm"}}, "'llm' needs a language model: name one in"),
        ({"strategy": "gredy"}, "strategy: unknown 'gredy'; did you mean 'greedy'"),
        ({"judge": "gpu"}, "did you mean 'cuda'"),
        ({"judge": "cpu"}, "did you mean 'interpret'"),
    ],
)
def test_settings_that_the_strategy_refuses_are_named_in_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(settings, ROOT)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("preset", SLOTS)
def test_every_preset_suits_its_strategy(preset):
    assert load_settings(raw(preset), ROOT).strategy in preset + "beam"


@pytest.mark.parametrize(
    ("settings", "strategy"),
    [
        ({}, "beam"),
        ({"technique_clustering": {"enabled": True}}, "clustered"),
        ({"strategy": "noop"}, "noop"),
    ],
)
def test_a_beam_with_technique_clustering_is_the_clustered_strategy(settings, strategy):
    assert RunSettings(load_config.load(settings, ROOT)).strategy == strategy


def test_a_dry_run_needs_no_models():
    assert RunSettings(load_settings({"strategy": "noop", "models": []}, ROOT)).fan_out == 4


def test_an_unknown_model_is_found_before_the_start():
    with pytest.raises(ConfigError, match="'kopt-rewrit'; did you mean 'kopt-rewrite'"):
        load_config.check_files(load_config.load({"models": ["kopt-rewrit"]}, ROOT), ROOT)


def test_a_results_folder_that_cannot_be_written_is_found_before_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="results: cannot write to"):
        load_config.check_files(load_config.parse({"results": str(tmp_path / "file" / "results")}, "test"), ROOT)


def test_an_unknown_device_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown 'h10'; did you mean 'h100'"):
        load_config.load_device("h10", ROOT)


def test_models_may_be_written_as_on_the_command_line():
    assert load_config.parse({"models": "[a, b]"}, "test").models == ("a", "b")


def test_generated_files_are_up_to_date():
    stale = [str(path) for path, text in config_docs.files().items() if (ROOT / path).read_text() != text]
    assert stale == [], "run `kopt config --write`"


def test_the_default_file_says_what_the_model_says():
    assert load_config.load(yaml.safe_load(config_docs.default_yaml()), ROOT) == config.Config()


NAMES = st.sampled_from(sorted(config.Config.model_fields)) | st.text(max_size=8)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.dictionaries(
        NAMES, VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(NAMES, VALUES, max_size=2), max_size=4
    )
)
def test_any_mapping_is_either_a_configuration_or_a_config_error(settings):
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config.load(settings, ROOT), config.Config)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 16))
def test_chunks_of_a_dry_run_hold_every_slot(pool, bottlenecks, models, samples, size):
    settings = config.Config(
        candidate_pool_size=pool, num_bottlenecks=bottlenecks, models=tuple("abc"[:models]),
        samples_per_prompt=samples, chunk_size=size, judge="dry",
    )  # fmt: skip
    slots = RunSettings(settings).fan_out
    chunks = load_backend("dry").chunks(slots, size, attempt=0)
    assert (chunks - 1) * size < slots <= chunks * size
