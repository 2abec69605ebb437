"""Small problems and kernels on which judging was wrong once, each with the verdict that is right.

`tests/cases/<name>/` is a problem (`problem.py`, `kernel.py`, `problem.yaml`, perhaps further kernels) with a
`case.yaml`: by file of a kernel, `ends:` with the right end (see `benchmarks/verdict_cases.py`) and perhaps `says:`,
words of the reason.
"""

from pathlib import Path

import pytest
import yaml
from verdict_cases import Case, judge

from kopt.load_config import load_device
from kopt.problem import folder

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "cases"


def _entries():
    for path in sorted(CASES.glob("*/case.yaml")):
        problem = folder.load(path.parent)
        for file, wanted in yaml.safe_load(path.read_text()).items():
            source = (path.parent / file).read_text()
            yield Case(f"{path.parent.name}/{file}", problem, problem.seed.with_source(source)), wanted


ENTRIES = list(_entries())


@pytest.fixture(scope="module")
def endings():
    device = load_device("h100", ROOT)
    cases = [case for case, _ in ENTRIES]
    ends = judge(cases, device, workers=2, wall_s=60)
    return {case.name: end for case, end in zip(cases, ends, strict=True)}


@pytest.mark.parametrize(("case", "wanted"), ENTRIES, ids=[case.name for case, _ in ENTRIES])
@pytest.mark.xdist_group("cases")
def test_a_case_ends_as_it_should(case, wanted, endings):
    end = endings[case.name]
    assert end.end == wanted["ends"], end.reason
    for words in wanted.get("says", ()):
        assert words in end.reason
