from __future__ import annotations

from pathlib import Path

import pytest

from kopt.cli import main


def test_a_file_that_cannot_be_written_is_refused_before_a_seed_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["seed", "softmax", "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["seed", "softmax", "--out", str(tmp_path / "no" / "kernel.py")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_seed_that_cannot_be_made_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "problem.py").write_text(
        "import torch\nN = 64\nclass Model(torch.nn.Module):\n    def forward(self, x):\n"
        "        return torch.fft.fft(x).real\ndef get_inputs():\n    return [torch.randn(N, 32)]\n"
        "def get_init_inputs():\n    return []\n"
    )
    assert main(["seed", str(tmp_path), "--out", str(tmp_path / "kernel.py")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kopt: error: no seed: TorchInductor has no Triton for aten._fft")
    assert not (tmp_path / "kernel.py").exists()
