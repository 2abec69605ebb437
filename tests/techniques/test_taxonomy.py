from pathlib import Path

import pytest
import yaml

from kopt.errors import TaxonomyError
from kopt.techniques.static import DETECTORS, cluster_name, is_provable
from kopt.techniques.taxonomy import load, taxonomy_digest

SHIPPED = Path(__file__).parents[2] / "config" / "techniques.yaml"
IN_BIT_ORDER = [
    "split_k_reduce",
    "tensor_cores",
    "software_pipelining",
    "swizzled_load",
    "persistent_kernel",
    "vectorized_load",
    "shared_memory_tiling",
    "register_tiling",
    "autotuned_config",
    "masked_access",
    "atomic_reduction",
    "precision_split",
    "warp_specialization",
    "thread_block_clusters",
    "grid_swizzling",
    "epilogue_fusion",
    "loop_unrolling",
    "async_copy_tma",
]


def entry(name="tensor_cores", **more):
    return {"name": name, "description": "what", "llm_hint": "look"} | more


def write(folder, content):
    path = folder / "techniques.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_shipped_taxonomy_has_the_18_techniques_in_bit_order():
    assert [technique.name for technique in load(SHIPPED)] == IN_BIT_ORDER


def test_every_shipped_technique_has_a_static_detector():
    assert set(DETECTORS) == set(IN_BIT_ORDER)


def test_what_an_instruction_a_launch_or_a_call_shows_is_proved_by_facts():
    assert {name for name in IN_BIT_ORDER if is_provable(name)} == {
        "tensor_cores", "software_pipelining", "vectorized_load", "autotuned_config", "masked_access",
        "atomic_reduction", "warp_specialization", "thread_block_clusters", "async_copy_tma",
    }  # fmt: skip


def test_nothing_proves_a_technique_that_has_no_detector():
    assert not is_provable("cache_hints")


def test_an_entry_may_be_appended(tmp_path):
    path = write(tmp_path, SHIPPED.read_text() + yaml.safe_dump([entry("cache_hints")]))
    assert [technique.name for technique in load(path)] == [*IN_BIT_ORDER, "cache_hints"]


def test_a_changed_taxonomy_has_another_digest(tmp_path):
    shipped = load(SHIPPED)
    longer = load(write(tmp_path, SHIPPED.read_text() + yaml.safe_dump([entry("cache_hints")])))
    assert taxonomy_digest(shipped) != taxonomy_digest(longer)
    assert taxonomy_digest(shipped) == taxonomy_digest(load(SHIPPED))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([entry(), entry()], "entry 2 repeats the name 'tensor_cores' of entry 1"),
        ([entry(llmhint="x")], "unknown key 'llmhint': did you mean 'llm_hint'?"),
        ([{"name": "tensor_cores", "description": "x"}], "entry 1 (tensor_cores) lacks 'llm_hint'"),
        ([entry(description=" ")], "lacks 'description'"),
        ([entry(description=3)], "lacks 'description'"),
        ({"techniques": []}, "must be a list"),
        ("", "must be a list"),
        ([], "is empty"),
        (["tensor_cores"], "entry 1 is not a mapping"),
        ([entry("TensorCores")], "'TensorCores' is not snake_case"),
        ([entry("tensor-cores")], "is not snake_case"),
        ("- [", "is not YAML"),
    ],
)
def test_a_malformed_taxonomy_is_refused_in_one_line(tmp_path, content, said):
    with pytest.raises(TaxonomyError) as raised:
        load(write(tmp_path, content))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_taxonomy_is_refused(tmp_path):
    with pytest.raises(TaxonomyError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_cluster_is_named_after_its_techniques():
    assert cluster_name(("tensor_cores", "grid_swizzling")) == "tensor_cores+grid_swizzling"
    assert cluster_name(()) == "none"
