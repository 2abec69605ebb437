"""What a compilation by PyTorch sets for itself, it sets back."""

import pytest

from kopt.device.baselines.compilations import Subject
from kopt.device.baselines.compiler import compiling


@pytest.mark.parametrize("cached", [True, False])
def test_only_a_compilation_whose_caches_are_there_compiles_on_one_thread(tmp_path, cached):
    import torch._inductor.config as inductor  # here, since it takes a second

    if cached:
        (tmp_path / "inductor").mkdir()
    with inductor.patch(compile_threads=3):
        with compiling(Subject("compile", "compile", 0, str(tmp_path))):
            assert inductor.compile_threads == (1 if cached else 3)
        assert inductor.compile_threads == 3
