"""Moves that take fewer passes over memory offer no site where a condition fails, and drop no buffer that is needed."""

import pytest

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.source.module import parse
from tests.rewrite import samples
from tests.rewrite.test_soundness import apply
from tests.rewrite.test_structure import sources

FACTS = samples.facts()
CALL = "[(rows,)](x, r, h, w, y, "


def kept(source: str) -> str:
    """Return the kernel with what it holds in registers."""
    return apply("kept_values", source, 1) or source


def test_a_buffer_that_is_returned_keeps_its_rounding_and_its_store_and_another_disappears():
    source = kept(sources()["stored_row"])
    assert "tl.load(h_ptr" not in source
    assert "(x + r).to(x_ptr.dtype.element_ty)" in source
    assert "tl.store(h_ptr" in source
    assert "return h, y" in source
    assert "w_ptr" not in source
    assert "w = torch.empty" not in source


def test_a_buffer_of_longer_rows_is_allocated_where_they_are_computed():
    source = kept(apply("whole_row", sources()["kept"], 1))
    whole, longer = source.split("    else:\n")
    assert "h = torch.empty((rows, columns)" in longer
    assert "h = torch.empty" not in whole
    assert "del h" not in source


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("h = tl.load(h_ptr + place, mask=mask", "h = tl.load(h_ptr + place, mask=offs < columns - 1"),
        ("h = tl.load(h_ptr + place, mask=mask", "h = tl.load(h_ptr + place"),
        ("h = tl.load(h_ptr + place", "h = tl.load(h_ptr + (columns - 1 - offs)"),
        ("x + r, mask=mask)", "x + r, mask=mask)\n    x = r"),
        ("x + r, mask=mask)", "x + r, mask=mask)\n    place = place + 0 * columns"),
        ("x + r, mask=mask)", "x + r, mask=mask)\n    tl.store(h_ptr + row, 1.0)"),
        ("x + r, mask=mask)", "x + r, mask=mask)\n    tl.atomic_add(h_ptr + row, 1.0)"),
        ("x + r, mask=mask)", "x + r, mask=mask)\n    p = h_ptr\n    q = tl.broadcast_to(p, [1])"),
        ("    h = tl.load(h_ptr", "    h = tl.load(h_ptr + 0"),
        ("    tl.store(h_ptr", "    if columns > 5:\n        tl.store(h_ptr"),
        ("x + r, mask=mask)\n    h = tl", "x + r, mask=mask)\n    if columns > 5:\n        x = r\n    h = tl"),
        (CALL, CALL.replace("x, r,", "x, h,")),
        ("y = torch.empty_like(x)", "y = h.view(-1)"),
        ("h = torch.empty_like(x)", "h = x.clone()"),
        ("h = torch.empty_like(x)", "h = torch.empty_like(x)\n    seen = [h]"),
        ("    stored_row_kernel", "    for _ in range(2):\n        stored_row_kernel"),
    ],
)
def test_a_load_stays_where_it_may_read_something_else(old, new):
    source = sources()["stored_row"]
    assert old in source
    assert "    h = tl.load(h_ptr" in kept(source.replace(old, new, 1))


def test_what_one_branch_stores_the_other_does_not_hold():
    stores = "    tl.store(h_ptr + place, x + r, mask=mask)\n"
    branches = "    if columns > 5:\n    " + stores + "    else:\n        g = tl.load(h_ptr + place, mask=mask)\n"
    source = sources()["stored_row"]
    assert stores in source
    assert "        g = tl.load(h_ptr" in kept(source.replace(stores, branches))


@pytest.mark.parametrize(
    ("name", "move", "old", "new"),
    [
        ("softmax", "online_softmax", 'float("-inf"), dtype', "0.0, dtype"),
        ("softmax", "online_softmax", "total += tl.exp(x.to(tl.float32) - row_max)", "total += tl.exp(row_max - x)"),
        ("softmax", "online_softmax", "total += tl.exp(", "total += row_max * tl.exp("),
        ("softmax", "online_softmax", "total += tl.exp(", "total += 1.0 + tl.exp("),
        ("softmax", "online_softmax", "row_max = tl.max(largest, axis=0)", "row_max = tl.max(largest, axis=0) - 9"),
        ("softmax", "online_softmax", "        tl.store(y_ptr", "        largest += x\n        tl.store(y_ptr"),
        ("softmax", "online_softmax", "total = tl.zeros((BLOCK,), dtype=tl.float32)\n    for start in range(0, columns",
         "total = tl.zeros((BLOCK,), dtype=tl.float32)\n    for start in range(0, columns - 1"),
        ("online", "online_softmax", "tmp9 = _tmp8 + tmp7\n        _tmp8 = tl.where(r0_mask & xmask",
         "tmp9 = _tmp8 + tmp7\n        _tmp8 = tl.where(xmask"),
        ("online", "online_softmax", "return tl.reduce(a, dim, maximum)", "return tl.sum(a, dim)"),
        ("layernorm", "one_pass_variance", "squares += centred * centred", "squares += centred * x"),
        ("layernorm", "one_pass_variance", "tl.where(mask, x.to(tl.float32) - mean, 0.0)", "x.to(tl.float32) - mean"),
        ("layernorm", "one_pass_variance", "total += x.to(tl.float32)", "total += x.to(tl.float32) * 2"),
        ("layernorm", "one_pass_variance", "total = tl.zeros((BLOCK,)", "total = tl.full((BLOCK,), 1.0"),
        ("layernorm", "one_pass_variance", "mask = start + offsets < columns", "mask = start + offsets <= columns"),
        ("product", "stream_k", "acc = tl.zeros((BM, BN), ", "acc = tl.full((BM, BN), 1.0, "),
        ("product", "stream_k", "acc += tl.dot(a, b)", "acc = 0.5 * acc + tl.dot(a, b)"),
    ],
)  # fmt: skip
def test_no_site_where_a_condition_fails(name, move, old, new):
    source = sources()[name]
    assert old in source
    assert TRANSFORMATIONS[move].sites(parse(source), FACTS)
    assert not TRANSFORMATIONS[move].sites(parse(source.replace(old, new)), FACTS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.load(x_ptr + row * columns", "tl.load(x_ptr + (tl.num_programs(0) - 1 - row) * columns"),
        ("norm_kernel[(B,)]", "norm_kernel[(B + 1,)]"),
        ("y = torch.empty_like(h)", "y = torch.empty_like(h.mul_(2))"),
        ("y = torch.empty_like(h)", "y = r"),
        ("h = torch.empty_like(x)", "h = x"),
        ("h = torch.empty_like(x)", "h = torch.empty((2, B, D), dtype=x.dtype, device=x.device)[0]"),
        ("x + r, mask=mask)", "x + r, mask=mask & (cols > 0))"),
        ("    norm_kernel[(B,)](h,", "    norm_kernel[(B,)](h.view(-1),"),
    ],
)
def test_two_launches_stay_two_where_programs_may_read_what_others_stored(old, new):
    source = sources()["two_launches"]
    assert old in source
    assert apply("fused_launches", source, 1) is not None
    assert apply("fused_launches", source.replace(old, new), 1) is None


def test_a_tensor_between_launches_that_is_returned_is_stored():
    source = apply("fused_launches", sources()["two_launches"].replace("return y", "return y, h"), 1)
    joined = source[source.index("def add_kernel_and_norm_kernel") :].split("@triton.jit")[0]
    assert "tl.store(h_ptr" in joined
    assert "tl.load(h_ptr" not in joined
