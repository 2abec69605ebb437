"""Sort each row, equal elements in their order: an element's place is the number of elements that come before it."""

import torch
import triton
import triton.language as tl


@triton.jit
def sort_kernel(
    x_ptr, values_ptr, places_ptr, columns, DESCENDING: tl.constexpr, FLOATING: tl.constexpr, BLOCK: tl.constexpr,
    OTHERS: tl.constexpr,
):
    """One program counts for BLOCK elements of a row, over all elements; what is not a number is the largest."""
    base = tl.program_id(0).to(tl.int64) * columns
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < columns
    x = tl.load(x_ptr + base + place, mask=inside, other=0)
    rank = tl.zeros((BLOCK,), dtype=tl.int32)
    for start in range(0, columns, OTHERS):
        other_place = start + tl.arange(0, OTHERS)
        other = tl.load(x_ptr + base + other_place, mask=other_place < columns, other=0)
        less = other[None, :] < x[:, None]
        more = other[None, :] > x[:, None]
        if FLOATING:
            nan = (x != x)[:, None]
            other_nan = (other != other)[None, :]
            less = less | (nan & (other_nan == 0))
            more = more | (other_nan & (nan == 0))
        before = more if DESCENDING else less
        equal = (less == 0) & (more == 0)
        before = before | (equal & (other_place[None, :] < place[:, None]))
        before = before & (other_place < columns)[None, :]
        rank += tl.sum(before.to(tl.int32), axis=1)
    tl.store(values_ptr + base + rank, x, mask=inside)
    tl.store(places_ptr + base + rank, place.to(tl.int64), mask=inside)


def sort(x, descending):
    columns = x.shape[-1]
    rows = x.numel() // columns
    values = torch.empty_like(x)
    places = torch.empty(x.shape, dtype=torch.int64, device=x.device)
    grid = lambda META: (rows, triton.cdiv(columns, META["BLOCK"]))
    sort_kernel[grid](
        x, values, places, columns, DESCENDING=descending, FLOATING=x.is_floating_point(), BLOCK=64, OTHERS=128,
        num_warps=8,
    )
    return values, places
