"""Every size over which kernels may loop is long in some small workload; what is structure stays."""

import pytest

from kopt.device.reference.trial import SLOW, try_sizes
from kopt.problem.derive import with_workloads

MODEL = """
import torch
import torch.nn as nn

{constants}

class Model(nn.Module):
    def forward(self, {arguments}):
        return {result}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""


def problem_of(constants: str, arguments: str, result: str, inputs: str):
    return with_workloads("long", MODEL.format(constants=constants, arguments=arguments, result=result, inputs=inputs))


def inputs_of(problem, name):
    (workload,) = (one for one in problem.small if one.name == name)
    return try_sizes(problem, workload.constants).inputs


@pytest.mark.parametrize("size", [4096, 3072, 1000])
def test_each_size_of_a_product_is_long_in_one_small_workload(size):
    problem = problem_of(f"M = {size}\nN = {size}\nK = {size}", "a, b", "a @ b", "torch.randn(M, K), torch.randn(K, N)")
    rows, columns, inner = (
        {inputs_of(problem, workload.name)[at][dimension] for workload in problem.small}
        for at, dimension in ((0, 0), (1, 1), (0, 1))
    )
    assert max(rows) >= min(size // 3, 512)
    assert max(columns) == max(inner) == size


DECODE = """
import torch

BATCH, HEADS, KV_HEADS, DIM, MAX_LEN = 16, 32, 8, 128, 4096

class Model(torch.nn.Module):
    def forward(self, q, k, v, lengths):
        q = q.view(q.shape[0], k.shape[2], -1, q.shape[2])
        scores = torch.einsum("bgrd,btgd->bgrt", q.float(), k.float()) / 11
        hidden = torch.arange(k.shape[1], device=q.device)[None, :] >= lengths[:, None]
        p = torch.softmax(scores.masked_fill(hidden[:, None, None, :], float("-inf")), dim=-1)
        return torch.einsum("bgrt,btgd->bgrd", p.to(v.dtype), v).flatten(1, 2)

def get_inputs():
    caches = [torch.randn(BATCH, MAX_LEN, KV_HEADS, DIM, dtype=torch.bfloat16) for _ in range(2)]
    return [torch.randn(BATCH, HEADS, DIM, dtype=torch.bfloat16), *caches, torch.randint(1, MAX_LEN + 1, (BATCH,))]

def get_init_inputs():
    return []
"""


@pytest.fixture(scope="module")
def decode():
    return with_workloads("decode", DECODE)


def test_the_cache_of_a_decode_is_several_tiles_long_in_one_small_workload(decode):
    """Heads that cannot shrink leave `tiles` a cache of 32: the largest size is long in a workload of its own."""
    shapes = {one.name: try_sizes(decode, one.constants) for one in decode.small}
    assert shapes["long_MAX_LEN"].inputs[1][1] == 2 * 128 + 13
    assert shapes["tiles"].inputs[1][1] < 64
    assert max(one.largest for one in shapes.values()) < SLOW / 2


def test_a_batch_beside_which_an_input_has_one_number_each_is_odd(decode):
    """Lengths, one for each element of the batch, are no rows that have to be whole multiples of 16 bytes."""
    (small,) = (one for one in decode.small if one.name == "ragged")
    assert all(try_sizes(decode, one.constants).inputs[0][0] % 2 for one in (small, *decode.hidden))


@pytest.mark.parametrize("inputs", ["torch.randn(T, H, 64), torch.arange(T)", "torch.arange(T), torch.randn(T, H, 64)"])
def test_tokens_with_positions_are_odd_whichever_input_leads(inputs):
    arguments = "x, p" if inputs.startswith("torch.randn") else "p, x"
    problem = problem_of("T = 4096\nH = 32", arguments, "x + p[:, None, None]", inputs)
    for one in (*problem.hidden, *(small for small in problem.small if small.name == "ragged")):
        assert try_sizes(problem, one.constants).inputs[0][0] % 2


def test_a_size_that_would_be_long_beside_too_many_elements_alone_stays_short():
    """Rows of 4096 elements that cannot shrink (a Fourier transform of that length): 256 of them are too many."""
    result = "torch.fft.fft(x).real[:, :2048] + x.view(-1, 2, 2048).sum(1)"
    problem = problem_of("R = 8192", "x", result, "torch.randn(R, 4096)")
    assert max(try_sizes(problem, one.constants).largest for one in problem.small) <= SLOW
    assert max(inputs_of(problem, one.name)[0][0] for one in problem.small) < 64


@pytest.mark.parametrize("sizes", ["M = 4096\nN = 4096", "M = 1024\nN = 8192", "M = 16384\nN = 2048"])
def test_the_rows_of_a_softmax_are_as_long_as_two_usual_blocks(sizes):
    problem = problem_of(sizes, "x", "torch.softmax(x, dim=-1)", "torch.randn(M, N)")
    assert max(inputs_of(problem, workload.name)[0][1] for workload in problem.small) >= 2048


def test_taps_stay_where_the_padding_is_long():
    problem = problem_of(
        "B = 16\nC = 64\nL = 16384", "x, w",
        "torch.nn.functional.conv1d(torch.nn.functional.pad(x, (1024, 0)), w[:, None], dilation=512, groups=C)",
        "torch.randn(B, C, L), torch.randn(C, 3)",
    )  # fmt: skip
    assert {inputs_of(problem, workload.name)[1][1] for workload in problem.small} == {3}


def test_coordinates_and_few_heads_stay():
    problem = problem_of("N = 65536\nH = 4", "x", "x / x.norm(dim=-1, keepdim=True)", "torch.randn(N, H, 3)")
    assert {inputs_of(problem, workload.name)[0][1:] for workload in problem.small} == {(4, 3)}


@pytest.mark.parametrize(("size", "factor"), [(1000, 8), (4100, 4), (1 << 14, 16), (999, 1)])
def test_what_powers_of_two_divide_a_size_divides_it_in_tiles_alone(size, factor):
    problem = problem_of(f"M = 64\nN = {size}", "x", "x.median(dim=-1).values", "torch.randn(M, N)")
    lengths = {workload.name: inputs_of(problem, workload.name)[0][1] for workload in problem.small}
    assert lengths["tiles"] % factor == 0
    assert lengths["ragged"] % 16
    assert factor < 8 or not any(length % 8 for length in lengths.values())


def test_a_flat_size_is_two_large_blocks_and_a_rest():
    problem = problem_of("N = 1 << 22", "x", "torch.relu(x).square()", "torch.randn(N)")
    lengths = {one.name: inputs_of(problem, one.name)[0][0] for one in problem.small}
    for block in (256, 1024, 4096, 8192):
        assert any(length > block and length % block for length in lengths.values())
    assert try_sizes(problem, problem.hidden[0].constants).inputs[0][0] > 1 << 20


@pytest.mark.parametrize("rows", [64, 8192])
def test_rows_beside_a_fixed_size_are_some_tiles_and_a_rest(rows):
    result = "torch.fft.fft(x).real[:, :256] + x.view(-1, 2, 256).sum(1)"
    problem = problem_of(f"R = {rows}", "x", result, "torch.randn(R, 512)")
    ragged = inputs_of(problem, "ragged")[0][0]
    assert all(ragged > tile and ragged % tile for tile in (2, 4, 8))


def test_head_dimensions_stay_powers_of_two_and_other_sizes_do_not():
    attention = "torch.nn.functional.scaled_dot_product_attention(q, k, v)"
    inputs = ", ".join(["torch.randn(B, H, S, D)"] * 3)
    for result in (attention, "torch.softmax(q @ k.transpose(-1, -2) / 8, -1) @ v"):
        problem = problem_of("B, H, S, D = 2, 4, 1024, 64", "q, k, v", result, inputs)
        shapes = [inputs_of(problem, one.name)[0] for one in problem.small]
        hidden = try_sizes(problem, problem.hidden[0].constants).inputs[0]
        heads = {shape[3] for shape in (*shapes, hidden)}
        assert heads <= {16, 32, 64}
        assert len(heads) > 1
        assert any(shape[2] % 16 for shape in shapes)
        assert hidden[2] % 16


def test_short_rows_of_heads_stay_powers_of_two_and_images_do_not():
    inputs = "torch.randn(T, H, D), torch.randn(T, H), torch.randn(T, H, D)"
    problem = problem_of("T, H, D = 2048, 24, 128", "o, lse, p", "o * lse.exp()[..., None] + p", inputs)
    assert {inputs_of(problem, one.name)[0][2] for one in problem.small} <= {16, 32, 64, 128}
    problem = problem_of("N, C, W = 8, 16, 64", "x", "torch.nn.functional.max_pool1d(x, 2)", "torch.randn(N, C, W)")
    assert any(inputs_of(problem, one.name)[0][2] % 16 for one in problem.small)


@pytest.mark.parametrize(("merged", "channels", "lengths"), [(True, 8, 8), (False, 8, 1)])
def test_a_size_that_a_view_merges_and_parts_stays_a_multiple(merged, channels, lengths):
    parted = "x.view(x.shape[0], G, -1)" if merged else "x.view(x.shape[0], G, x.shape[1] // G, x.shape[2])"
    problem = problem_of("B, C, L, G = 4, 64, 1024, 8", "x", f"({parted} / 2).reshape(x.shape)", "torch.randn(B, C, L)")
    shapes = [inputs_of(problem, one.name)[0] for one in problem.small]
    assert not any(shape[1] % channels or shape[2] % lengths for shape in shapes)


@pytest.mark.parametrize(("group", "groups"), [(8, 8), (4, 8), (4, 32)])
def test_a_size_that_a_view_parts_by_two_constants_stays_a_multiple_of_their_product(group, groups):
    """`GROUP` and `GROUPS` part the channels: others would be parted in the middle of a channel."""
    problem = problem_of(
        f"B = 4\nC = 512\nL = 160\nGROUP = {group}\nGROUPS = {groups}", "x",
        "x.view(x.shape[0], GROUPS, GROUP, -1).amax(2)", "torch.randn(B, C, L)",
    )  # fmt: skip
    shapes = [try_sizes(problem, one.constants).inputs[0] for one in (*problem.small, *problem.hidden)]
    assert {shape[1] % (group * groups) for shape in shapes} == {0}
    assert any(shape[1] != 512 for shape in shapes) == (group * groups < 128)


def test_a_mask_that_torch_makes_in_another_order_for_other_sizes_has_small_sizes():
    mask = "(torch.arange(S)[None, :] <= torch.arange(S)[:, None])"
    band = f"({mask} & (torch.arange(S)[None, :] > torch.arange(S)[:, None] - WINDOW))"
    problem = problem_of(
        "B = 4\nS = 4096\nWINDOW = 1024", "x", f"torch.softmax(x.masked_fill(~{band}, float('-inf')), dim=-1)",
        "torch.randn(B, S, S)",
    )  # fmt: skip
    assert {workload.name for workload in problem.small} >= {"tiles", "ragged"}


ROUTED = {
    "the largest of all": ("torch.softmax(x, -1).topk(2).values", 8),
    "groups first": (
        "(lambda g: (x.view(-1, 8, E // 8) + torch.zeros_like(g).scatter(1, g.topk(4).indices, 9.0)[..., None])"
        ".flatten(1).topk(6).values)(x.view(-1, 8, E // 8).topk(2).values.sum(-1))",
        8,
    ),
    "the largest down a column": ("x.T.topk(2, 0).values.T", 8),
}


@pytest.mark.parametrize("name", ROUTED)
@pytest.mark.parametrize(("experts", "power"), [(256, True), (64, True), (160, False), (4096, False)])
def test_a_number_of_experts_that_is_a_power_of_two_stays_one(name, experts, power):
    result, least = ROUTED[name]
    problem = problem_of(f"T = 4096\nE = {experts}", "x", result, "torch.randn(T, E)")
    shapes = [inputs_of(problem, one.name)[0] for one in problem.small]
    hidden = try_sizes(problem, problem.hidden[0].constants).inputs[0]
    found = {shape[1] for shape in (*shapes, hidden)}
    assert all(one >= least for one in found)
    assert all(one & (one - 1) == 0 for one in found) is power
    assert any(shape[0] % 16 for shape in shapes)


def test_rows_as_many_as_there_are_experts_are_no_experts():
    problem = problem_of("T = 256\nE = 256", "x", "x.topk(2).values", "torch.randn(T, E)")
    rows, experts = ({inputs_of(problem, one.name)[0][at] for one in problem.small} for at in (0, 1))
    assert any(row % 16 for row in rows)
    assert all(one & (one - 1) == 0 for one in experts)


@pytest.mark.parametrize(("batch", "others"), [(2, {3}), (4, {3}), (8, {7}), (16, {13, 9})])
def test_a_batch_takes_a_size_that_is_no_power_of_two_however_small_it_is(batch, others):
    problem = problem_of(
        f"B = {batch}\nT = 1024\nD = 1152",
        "x, gate",
        "torch.softmax(x * gate.unsqueeze(1), -1)",
        "torch.randn(B, T, D), torch.randn(B, D)",
    )
    for workload in (*problem.hidden, *(one for one in problem.small if one.name == "ragged")):
        x, gate = try_sizes(problem, workload.constants).inputs
        assert x[0] == gate[0]
        assert x[0] in others


@pytest.mark.parametrize(
    ("inputs", "taken"),
    [
        ("torch.randn(3, H, W), torch.randn(3, 1, 1)", {3}),  # three colours
        ("torch.randn(T, W), torch.randn(8, 1, W)", {8, 4}),  # eight experts
    ],
)
def test_a_small_size_that_leads_an_input_and_is_no_batch_stays_or_is_halved(inputs, taken):
    problem = problem_of("H = 512\nW = 1024\nT = 2048", "x, y", "x * y", inputs)
    assert {try_sizes(problem, one.constants).inputs[1][0] for one in (*problem.hidden, *problem.small)} == taken
