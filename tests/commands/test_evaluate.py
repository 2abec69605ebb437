"""`kopt evaluate` takes what `kopt export` wrote."""

import json

import pytest

from kopt import cli
from kopt.winner.targets import kernelbench, module, torch_library
from tests.device.small import REFERENCE, SOURCE
from tests.winner.test_winner import winner

SETTINGS = """
dtype: bfloat16
workloads:
  main:
    wide: {rows: 64}
  small:
    small: {rows: 4}
"""


@pytest.mark.parametrize("form", [module, torch_library, kernelbench])
def test_the_kernel_of_an_exported_file_is_judged_without_what_serves_it(form, tmp_path, capsys):
    folder, file = tmp_path / "scale", tmp_path / "exported.py"
    folder.mkdir()
    (folder / "problem.py").write_text(REFERENCE)
    (folder / "problem.yaml").write_text(SETTINGS)
    (folder / "kernel.py").write_text(SOURCE)
    source = SOURCE.replace("x * w * factor", "x * w + factor") if form is kernelbench else SOURCE
    file.write_text(form.write(winner(source, source)))
    status = cli.main(["evaluate", str(file), "--problem", str(folder), "--judge", "interpret", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["status"]) == ((1, "incorrect") if form is kernelbench else (0, "passed"))
