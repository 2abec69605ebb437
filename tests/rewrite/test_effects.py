"""What a move claims shows in the PTX that a kernel compiles to."""

import os

import pytest
import yaml

from kopt.device.build.build import BuildJob, build_all
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.store import Store
from tests.rewrite import more_samples, samples
from tests.rewrite.judge import apply
from tests.rewrite.test_soundness import AFTER

ON = {
    "shared_windows": "maxpool3d", "whole_axis": "rmsnorm", "wide_product": "gemma3_swiglu",
    "flat_tiles": "gemma3_swiglu", "pipelined_rows": "softmax", "output_halves": "gemma3_swiglu",
    "window_lines": "maxpool3d", "axis_in_registers": "rmsnorm",
    "host_descriptors": "gemma3_swiglu", "uneven_tile": "gemma3_swiglu", "shared_reciprocal": "softmax",
    "staggered_loop": "matvec", "transposed_product": "product",
    "kept_values": "kept", "online_softmax": "softmax", "one_pass_variance": "layernorm", "stream_k": "product",
    "rows_per_program": "matvec", "fused_launches": "two_launches", "fast_exponential": "online",
}  # fmt: skip
"""Moves, each with the kernel that shows its effect."""


def test_each_move_that_names_an_effect_is_compiled_here():
    assert {name for name, each in TRANSFORMATIONS.items() if each.effect} == set(ON)


@pytest.mark.xdist_group("rewrites")
def test_moves_take_effect_in_ptx(tmp_path):
    device = Device(**yaml.safe_load((samples.ROOT / "config/devices/h100.yaml").read_text()))
    store, problems, jobs = Store(tmp_path), samples.problems() | more_samples.problems(), {}
    for name, kernel in ON.items():
        problem = problems[kernel].model_copy(update={"main": problems[kernel].main[:1]})
        before = problem.seed.source
        before = apply(AFTER[name], before, 2) if name in AFTER else before
        for source in (before, apply(name, before, 2)):
            jobs.setdefault(name, []).append(
                BuildJob(kernel=problem.seed.with_source(source), problem=problem, device=device)
            )
    every = [job for pair in jobs.values() for job in pair]
    built = dict(build_all(every, store=store, workers=os.cpu_count() or 1))
    for name, pair in jobs.items():
        texts = []
        for job in pair:
            build = built[every.index(job)]
            assert isinstance(build, Built), build
            texts.append("".join(store.text("ptx", one.ptx, ".ptx") for one in build.workloads[0].launches))
        before, after = map(TRANSFORMATIONS[name].effect, texts)
        assert after > before, (name, before, after)
