"""The k largest or smallest elements of each row, in order: one program a row takes one element after the other."""

import torch
import triton
import triton.language as tl


@triton.jit
def top_k_kernel(x_ptr, values_ptr, places_ptr, columns, K, LARGEST: tl.constexpr, BLOCK: tl.constexpr):
    """A row is read again for each element: the next one after the last in the order of value and place.

    NaN is as large as infinity.
    """
    row = tl.program_id(0).to(tl.int64)
    last = float("inf")
    last_place = -1
    for rank in range(0, K):
        best = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
        best_place = tl.full((BLOCK,), 2147483647, dtype=tl.int32)
        for start in range(0, columns, BLOCK):
            place = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + row * columns + place, mask=place < columns, other=0.0).to(tl.float32)
            key = x if LARGEST else -x
            key = tl.where(x != x, float("inf") if LARGEST else float("-inf"), key)
            left = (key < last) | ((key == last) & (place > last_place))
            better = (place < columns) & left & ((key > best) | ((key == best) & (place < best_place)))
            best = tl.where(better, key, best)
            best_place = tl.where(better, place, best_place)
        last = tl.max(best, axis=0)
        last_place = tl.min(tl.where(best == last, best_place, 2147483647), axis=0)
        value = tl.load(x_ptr + row * columns + last_place)
        tl.store(values_ptr + row * K + rank, value.to(values_ptr.dtype.element_ty))
        tl.store(places_ptr + row * K + rank, last_place.to(tl.int64))


def top_k(x, k, largest):
    columns = x.shape[-1]
    rows = x.numel() // columns
    values = torch.empty((*x.shape[:-1], k), dtype=x.dtype, device=x.device)
    places = torch.empty((*x.shape[:-1], k), dtype=torch.int64, device=x.device)
    block = min(4096, triton.next_power_of_2(columns))
    top_k_kernel[(rows,)](x, values, places, columns, k, LARGEST=largest, BLOCK=block, num_warps=8)
    return values, places
