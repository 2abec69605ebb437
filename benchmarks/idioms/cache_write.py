"""Write keys and values of new tokens to their slots of two caches in place; a slot below 0 is skipped.

{kind: cache update, style: scatter of rows by slots, dtype: bfloat16, mutates: [key_cache, value_cache], inputs: {slots: as_given}, small: [{tokens: 5, size: 12, width: 72}, {tokens: 9, size: 17, width: 136}]}
"""
tokens, size, width = 1024, 4096, 1024


def inputs():
    slots = torch.randperm(size)[:tokens]
    slots[1] = -1
    return [
        torch.randn(tokens, width), torch.randn(tokens, width), torch.randn(size, width), torch.randn(size, width), slots
    ]


def reference(key, value, key_cache, value_cache, slots):
    at = torch.arange(key_cache.shape[0], device=key.device)
    hit = at[:, None] == slots[None, :]
    used = hit.any(1)
    source = hit.to(torch.int64).argmax(1)
    key_cache.copy_(torch.where(used[:, None], key[source], key_cache))
    value_cache.copy_(torch.where(used[:, None], value[source], value_cache))


# --- kernel ---
import triton
import triton.language as tl


@triton.jit
def reshape_and_cache(key, value, key_cache, value_cache, slots, width: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    if slot < 0:
        return
    col = tl.arange(0, BLOCK)
    mask = col < width
    tl.store(key_cache + slot * width + col, tl.load(key + token * width + col, mask=mask), mask=mask)
    tl.store(value_cache + slot * width + col, tl.load(value + token * width + col, mask=mask), mask=mask)


def kernel_function(key, value, key_cache, value_cache, slots):
    tokens, width = key.shape
    reshape_and_cache[(tokens,)](
        key, value, key_cache, value_cache, slots, width, BLOCK=triton.next_power_of_2(width)
    )
