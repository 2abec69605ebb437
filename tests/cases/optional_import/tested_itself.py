"""Doubles a tensor; run as a script it tests itself."""

import argparse
import logging
import os
import time
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from pathlib import Path

try:
    from flash_attn import flash_attn_func
except ImportError:
    flash_attn_func = None

logger = logging.getLogger(__name__)
BLOCK = int(os.environ.get("DOUBLE_BLOCK", "1024"))


@triton.jit
def double(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x + x, mask=at < n)


def kernel_function(input):
    if flash_attn_func is None:
        logger.debug("no flash attention")
    y = torch.empty_like(input)
    double[(triton.cdiv(input.numel(), BLOCK),)](input, y, input.numel(), BLOCK=BLOCK)
    return y


def run_as_script(place: "Path"):
    start = time.time()
    x = torch.randn(1024, device="cuda")
    torch.testing.assert_close(kernel_function(x), x + x)
    with open(place, "w") as file:
        file.write(f"{time.time() - start} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("place")
    run_as_script(parser.parse_args().place)
