"""The check in a kernel's file accepts what ties and rounding leave open, and nothing else."""

from functools import partial

import pytest
import torch

from kopt.winner.embedded.self_check import errors_of, remarks, result_of, unit_of
from kopt.winner.embedded.undecided import TURNS, Right, tensors_of

LEFT, RIGHT = torch.randn(2, 128, 64, generator=torch.Generator().manual_seed(0))
LOGITS = LEFT.bfloat16()
WHOLE = torch.randint(-3, 4, (256, 16), generator=torch.Generator().manual_seed(0)).bfloat16()
EXPERTS = torch.randint(0, 8, (128,), generator=torch.Generator().manual_seed(0))


def judged(reference, kernel, *inputs):
    """Compare as the check does on a GPU; return whether the kernel is right, and what is said of it."""
    eager = result_of(reference, inputs)
    exact = result_of(reference, [one.double() if one.is_floating_point() else one for one in inputs])
    unit = unit_of({one.dtype for one in tensors_of(eager) if one.is_floating_point()}, "")
    right = Right(exact, unit, partial(result_of, reference, inputs))
    error, own = errors_of(result_of(kernel, inputs), right), errors_of(eager, right)
    return error.permitted(own, unit), remarks(error, own, unit, right)


def route(logits, k=8):
    values, experts = torch.softmax(logits.float(), -1).topk(k, dim=-1)
    return values / values.sum(-1, keepdim=True), experts


def routed(logits, places, change=lambda experts: experts):
    """Route as a kernel does that reads the experts in another order, and so orders equal ones otherwise."""
    values, order = logits.float()[..., places].sort(dim=-1, descending=True, stable=True)
    return torch.softmax(values[..., :8], -1), change(places[order[..., :8]])


FORWARD, BACKWARD = torch.arange(64), torch.arange(64).flip(0)
SHUFFLED = torch.randperm(64, generator=torch.Generator().manual_seed(0))
ROWS = {
    "normal": LOGITS, "padded": torch.cat([LOGITS, torch.zeros(64, 64).bfloat16()]), "whole": LOGITS.round(),
    "float32": LEFT, "close": LOGITS * 2.0**-12,
}  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("places", [FORWARD, BACKWARD, SHUFFLED], ids=["first", "last", "any"])
def test_equal_elements_may_be_chosen_in_any_order(rows, places):
    assert judged(route, partial(routed, places=places), ROWS[rows])[0]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    "change",
    [
        lambda experts: (experts + 1) % 64,
        lambda experts: experts * 0,
        lambda experts: experts.flip(-1),
        lambda experts: experts[..., :1].expand(experts.shape),
        lambda experts: torch.where(experts == experts[3, 0], experts[3, 5], experts),
        lambda experts: experts - 64,
    ],
    ids=["shifted", "constant", "smallest first", "the first alone", "one for another", "negative"],
)
def test_other_indexes_are_wrong(rows, change):
    right, said = judged(route, partial(routed, places=FORWARD, change=change), ROWS[rows])
    assert not right
    assert "WRONG in" in said


def test_an_index_that_is_chosen_twice_is_wrong_also_where_all_elements_are_equal():
    rows = torch.zeros(64, 64)
    first = partial(routed, places=FORWARD)
    assert judged(route, first, rows)[0]
    assert not judged(route, lambda logits: (first(logits)[0], first(logits)[1] // 2), rows)[0]


def test_how_much_ties_decide_is_said_and_nothing_where_they_decide_nothing():
    first = partial(routed, places=FORWARD)
    assert "decide 100.0% of the whole numbers" in judged(route, first, torch.zeros(64, 64))[1]
    assert judged(route, first, torch.rand(8, 64))[1] == ""


@pytest.mark.parametrize(
    ("kernel", "right"),
    [
        (lambda ids: ids.sort(stable=True)[1], True),
        (lambda ids: 127 - ids.flip(0).sort(stable=True)[1], True),
        (lambda ids: ids.argsort(descending=True), False),
        (lambda ids: torch.arange(128), False),
        (lambda ids: torch.zeros_like(ids), False),
    ],
    ids=["stable", "last first", "falling", "unsorted", "constant"],
)
def test_a_sort_of_whole_numbers_may_order_equal_ones_as_it_likes(kernel, right):
    assert judged(torch.argsort, kernel, EXPERTS)[0] == right
    assert judged(lambda ids: ids.argsort().int(), lambda ids: kernel(ids).int(), EXPERTS)[0] == right


def test_numbers_that_follow_an_index_may_be_any_of_its_choices():
    last = 127 - EXPERTS.flip(0).sort(stable=True)[1]
    assert judged(lambda ids: ids.argsort() // 4, lambda ids: last // 4, EXPERTS)[0]
    assert judged(lambda ids, x: (x[ids.argsort()], ids.argsort()), lambda ids, x: (x[last], last), EXPERTS, LEFT)[0]
    assert not judged(lambda ids: ids.argsort() // 4, lambda ids: last // 4 + 32, EXPERTS)[0]


def test_a_stable_sort_has_one_right_order():
    def reference(ids):
        return ids.argsort(stable=True)

    assert judged(reference, reference, EXPERTS) == (True, "")
    assert not judged(reference, lambda ids: 127 - ids.flip(0).sort(stable=True)[1], EXPERTS)[0]


@pytest.mark.parametrize("kind", ["median", "mode"])
def test_a_median_is_at_any_of_its_places(kind):
    def place(x, flip):
        values = getattr(x, kind)(-1).values
        equal = x == values.unsqueeze(-1)
        last = 15 - equal.flip(-1).byte().argmax(-1)
        return values, last if flip else equal.byte().argmax(-1)

    for flip in (False, True):
        assert judged(lambda x: getattr(x, kind)(-1), partial(place, flip=flip), WHOLE)[0]
    assert not judged(lambda x: getattr(x, kind)(-1), lambda x: (place(x, False)[0], place(x, False)[1] ^ 1), WHOLE)[0]


@pytest.mark.parametrize(
    ("reference", "kernel"),
    [
        (lambda x: x > 0, lambda x: x >= 0),
        (lambda x: x == 1, lambda x: x > 9),
        (lambda x: x.long(), lambda x: x.long() + 1),
        (lambda x: x.argmax(-1), lambda x: 15 - x.flip(-1).argmax(-1)),
        (lambda x: (x.float() * 2).sum(-1) > 4, lambda x: x.float().sum(-1) >= 2),
    ],
    ids=["zeros", "ones", "cast", "first of equal", "exact sums"],
)
def test_what_no_operation_rounds_has_one_right_result_on_the_edge_too(reference, kernel):
    assert judged(reference, reference, WHOLE) == (True, "")
    assert not judged(reference, kernel, WHOLE)[0]


PRODUCTS = {
    "greater": lambda y: y > 0.5,
    "best": lambda y: y.argmax(-1),
    "rounded": lambda y: (y * 16).round().clamp(-127, 127).to(torch.int8),
    "chosen": lambda y: tuple(y.topk(4)),
    "several": lambda y: (y.softmax(-1), y.argmax(-1), y > y.mean()),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("of", PRODUCTS)
def test_whole_numbers_of_a_product_may_be_rounded_in_the_kernels_way(dtype, of):
    def kernel(x, w, change=0.0):
        y = x.float().flip(1) @ w.float().flip(1).t() * (1 + change) + change
        return [one.to(dtype) if one.is_floating_point() else one for one in tensors_of(PRODUCTS[of](y))]

    def reference(x, w):
        return tensors_of(PRODUCTS[of](x @ w.t()))

    x, w = LEFT.to(dtype), RIGHT.to(dtype)
    assert judged(reference, kernel, x, w)[0]
    assert not judged(reference, lambda x, w: kernel(x.roll(1, 0), w), x, w)[0]
    if of not in ("best", "chosen"):
        assert not judged(reference, partial(kernel, change=0.1), x, w)[0]


def test_floating_point_numbers_beside_whole_ones_are_compared_as_before():
    def kernel(logits, error=0.0):
        weights, experts = routed(logits, FORWARD)
        return weights * (1 + error), experts

    assert judged(route, kernel, LEFT)[0]
    assert not judged(route, partial(kernel, error=1e-4), LEFT)[0]


def test_whole_numbers_are_right_or_wrong_by_themselves_however_coarse_the_other_dtype_is():
    """An index of 100 that is off by one is off by less than bfloat16's roundoff."""

    def reference(x):
        return x * 3, torch.arange(100) + 0 * x[:100].long()

    x = torch.rand(200).bfloat16()
    assert judged(reference, reference, x)[0]
    assert not judged(reference, lambda x: (reference(x)[0], reference(x)[1] + 1), x)[0]


def test_each_of_a_few_equal_elements_is_seen_in_each_of_their_places():
    rows = torch.arange(12).div(TURNS, rounding_mode="floor").expand(3, 12)
    runs = Right([rows.sort(dim=-1)[1]], 0.0, lambda: [rows.sort(dim=-1)[1]]).runs
    for place in range(12):
        group = {place // TURNS * TURNS + other for other in range(TURNS)}
        assert {int(run[0][1, place]) for run in runs} == group


def test_a_reference_that_lets_nobody_in_is_compared_without_ties_which_is_said():
    def reference(x):
        if torch._C._len_torch_dispatch_stack():  # as flex_attention, and what is compiled as one graph
            raise RuntimeError
        return x.argmax(-1)

    right, said = judged(reference, reference, WHOLE)
    assert right
    assert "is unknown" in said
    assert not judged(reference, lambda x: reference(x) + 1, WHOLE)[0]
