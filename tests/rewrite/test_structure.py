"""Moves that change a kernel's whole structure keep its result on every kernel that they apply to."""

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.source.module import parse
from tests.rewrite import more_samples, samples
from tests.rewrite.judge import apply, judged

POOLS = tuple(name for name in more_samples.problems() if name.startswith(("max_", "average_")))
APPLIES = {
    "shared_windows": {"maxpool3d", *POOLS},
    "whole_row": {"softmax", "layernorm", "matvec", "rowsum", "online", "kept", "two_launches"},
    "whole_axis": {"rmsnorm", "channel_softmax", "channel_spread"},
    "wide_product": {"gemma3_swiglu", "twin"},
    "flat_tiles": {"gemma3_swiglu", "product", "twin"},
    "tile_by_size": {"gemma3_swiglu", "twin"},
    "output_halves": {"gemma3_swiglu", "product", "exact"},
    "host_descriptors": {"gemma3_swiglu", "product", "twin", "exact"},
    "uneven_tile": {"gemma3_swiglu", "product", "exact"},
    "design_by_size": {"gemma3_swiglu", "twin"},
    "staggered_loop": {"matvec"},
    "transposed_product": {"product", "twin"},
    "shared_reciprocal": {"softmax", "rmsnorm", "channel_softmax", "kept", "stored_row"},
    "grid_order": {
        "maxpool3d", "rmsnorm", "gemma3_swiglu", "product", "twin", "exact", "channel_softmax", "channel_spread",
    },
    "kept_values": {"stored_row"},
    "fused_launches": {"two_launches"},
    "fast_exponential": {"online"},
    "online_softmax": {"softmax", "online"},
    "one_pass_variance": {"layernorm"},
    "stream_k": {"gemma3_swiglu", "product", "twin"},
}  # fmt: skip
"""The kernels that each move applies to."""
SIMPLE = ("whole_row", "tile_by_size", "grid_order", "shared_reciprocal", "design_by_size", "host_descriptors")
"""Moves that are judged on two of their kernels, to save time."""
STACKS = (
    ("gemma3_swiglu", "even_flag", "wide_product", "tile_shape"),
    ("twin", "wide_product", "even_flag", "flat_tiles", "persistent_count"),
    ("twin", "grid_order", "wide_product", "flat_tiles"),
    ("product", "even_flag", "flat_tiles", "pipeline_loop"),
    ("rmsnorm", "whole_axis", "grid_order", "persistent_grid"),
    ("channel_softmax", "whole_axis", "tile_size", "constant_sizes"),
    ("maxpool3d", "shared_windows", "tile_size", "constant_sizes"),
    ("gemma3_swiglu", "tile_by_size", "flat_tiles", "tile_size"),
    ("softmax", "whole_row", "pipelined_rows", "persistent_count"),
    ("online", "whole_row", "pipelined_rows"),
    ("layernorm", "whole_row", "rows_per_program", "pipelined_rows"),
    ("gemma3_swiglu", "wide_product", "even_flag", "design_by_size", "uneven_tile", "flat_tiles", "host_descriptors"),
    ("product", "uneven_tile", "flat_tiles", "host_descriptors"),
    ("product", "output_halves", "flat_tiles", "host_descriptors"),
    ("product", "host_descriptors", "flat_tiles"),
    ("gemma3_swiglu", "wide_product", "even_flag", "host_descriptors"),
    ("gemma3_swiglu", "wide_product", "uneven_tile", "host_descriptors"),
    ("matvec", "hoist_reduction", "rows_per_program", "split_k", "staggered_loop", "pipeline_loop", "unroll_loop"),
    ("twin", "transposed_product", "host_descriptors"),
    ("rmsnorm", "whole_axis", "shared_reciprocal", "pipelined_rows"),
    ("kept", "whole_row", "kept_values", "pipelined_rows"),
    ("two_launches", "fused_launches", "pipelined_rows"),
    ("softmax", "online_softmax", "whole_row", "rows_per_program"),
    ("layernorm", "one_pass_variance", "whole_row", "pipelined_rows"),
    ("gemma3_swiglu", "wide_product", "even_flag", "stream_k", "tile_shape"),
)
"""Moves after one another."""


def sources() -> dict[str, str]:
    made = samples.problems() | more_samples.problems()
    return {name: problem.seed.source for name, problem in made.items()}


def test_each_move_applies_where_it_should_and_nowhere_else():
    for name, kernels in APPLIES.items():
        found = {each for each, source in sources().items() if TRANSFORMATIONS[name].sites(parse(source), FACTS)}
        assert found == kernels, name


def test_a_flat_loop_whose_loads_run_ahead_is_not_put_into_another_order():
    flat = apply("flat_tiles", sources()["product"], 1)
    assert apply("grid_swizzle", sources()["product"], 1) is not None
    assert apply("grid_swizzle", flat, 1) is None
    assert apply("persistent_grid", flat, 1) is None


def test_a_grid_of_two_launches_is_not_changed_for_one_of_them():
    source = sources()["gemma3_swiglu"]
    launch = source[source.index("    swiglu_kernel[grid]") : source.index("    return out")]
    assert apply("flat_tiles", source, 1) is not None
    twice = source.replace(launch, launch + launch.replace("swiglu_kernel", "other_kernel"))
    assert apply("flat_tiles", twice, 1) is None


def test_every_move_keeps_the_results_of_kernels_that_it_applies_to():
    made = sources()
    jobs = [
        (each, name, apply(name, made[each], 1))
        for name, kernels in APPLIES.items()
        for each in sorted(kernels)[: 2 if name in SIMPLE else None]
    ]
    for each, *moves in STACKS:
        source = made[each]
        for move in moves:
            source = apply(move, source, 2)
            assert source is not None, (each, move)
        jobs.append((each, " ".join(moves), source))
    jobs += [(name, "online, by element", apply("online_softmax", made[name], 2)) for name in ("softmax", "online")]
    shared = apply("stream_k", made["product"], 1)
    jobs += [("product", f"{n} sharers", shared.replace("PROGRAMS = 132", f"PROGRAMS = {n}")) for n in (1, 3, 4)]
    assert judged(jobs) == {}


def test_two_operands_side_by_side_come_by_one_descriptor_and_their_products_keep_their_places():
    wide = apply("wide_product", sources()["gemma3_swiglu"], 1)
    paired = apply("host_descriptors", wide, 1)
    assert "gate_up_desc.load([0, " in paired
    order = "up_first=up.data_ptr() < gate.data_ptr()"
    assert order in paired
    exchanged = paired.replace(order, order.replace("<", ">="))
    assert list(judged([("gemma3_swiglu", "kept", paired), ("gemma3_swiglu", "exchanged", exchanged)])) == [
        "gemma3_swiglu: exchanged"
    ]


def test_operands_side_by_side_that_are_used_otherwise_keep_their_pointers():
    wide = apply("wide_product", sources()["gemma3_swiglu"], 1)
    for old, new in (
        ("acc_gate_up = tl.dot(x, gate_up, acc_gate_up)", "acc_gate_up = tl.dot(x, gate_up + gate_up, acc_gate_up)"),
        ("lanes < BLOCK_N, gate_ptr", "lanes <= BLOCK_N, gate_ptr"),
        ("(lanes % BLOCK_N)", "(lanes % BLOCK_K)"),
        ("    inner = ", "    acc_gate += tl.sum(acc_gate_up, axis=1)[:, None]\n    inner = "),
    ):
        assert wide.count(old) == 1 or old.startswith("(lanes"), old
        assert "gate_up_desc" not in (apply("host_descriptors", wide.replace(old, new), 1) or ""), old


FACTS = samples.facts()
