"""Triton compiles a candidate's kernels from the candidate's text, even if no screen has seen the text."""

import json
from functools import partial
from pathlib import Path

import pytest

from kopt.device.build.build import LIMITS, warm_up
from kopt.device.build.trace import trace
from kopt.device.reference.rejection import Rejected
from kopt.model.kernel import Kernel
from kopt.sandbox.pipe import Report
from kopt.sandbox.pool import Returned, run_forked
from tests.device.small import H100, SCALE, SOURCE

ENTRY = SOURCE.index("def kernel_function")
KERNEL, PLAIN = SOURCE[:ENTRY], SOURCE[ENTRY:]
WRONG = KERNEL.replace("x * w * factor", "x + w")[KERNEL.index("def scale_kernel") :].strip()

TWO_TEXTS = (
    SOURCE.replace("@triton.jit", f'@chosen("""\n{WRONG}\n    rest = \'\'\'""")\n@triton.jit')
    .replace("x * w * factor, mask=mask)", "x * w * factor, mask=mask)  # '''")
    .replace("@chosen", "def chosen(text):\n    return lambda function: function\n\n\n@chosen")
)
"""Python reads the second definition, and Triton the first, which is inside a text of a decorator."""

REFUSED = {
    "new text": (f"{KERNEL}\nscale_kernel._unsafe_update_src('''{WRONG}''')\n{PLAIN}", "another text"),
    "text set": (f"{KERNEL}\nscale_kernel._src = '''{WRONG}'''\n{PLAIN}", "replaces _src"),
    "text set unseen": (
        f"{KERNEL}\nobject.__setattr__(scale_kernel, '_src', '''{WRONG}''')\n{PLAIN}",
        "another text for scale_kernel than its definition",
    ),
    "digest set": (f"{KERNEL}\nscale_kernel.hash = '0' * 64\n{PLAIN}", "replaces hash"),
    "function set": (f"{KERNEL}\nscale_kernel.fn = print\n{PLAIN}", "replaces fn"),
    "two texts": (TWO_TEXTS, "another text for scale_kernel than its definition"),
    "own class": (
        "import triton\n\n\nclass Own(triton.JITFunction):\n    pass\n" + SOURCE.replace("@triton.jit", "@Own"),
        "a class of Triton's functions",
    ),
    "other representation": (
        "from pathlib import Path\nPath('other.ttir').write_text('module {}')\n"
        + SOURCE.replace("num_warps=4", "num_warps=4, ir_override='other.ttir'"),
        "option ir_override",
    ),
    "library": (
        "from pathlib import Path\nPath('own.bc').write_text('')\n"
        + SOURCE.replace("num_warps=4", "num_warps=4, extern_libs={'own': str(Path('own.bc').resolve())}"),
        "library own is not one of Triton's",
    ),
    "made of text": (
        f"import linecache\ntext = '''{WRONG}'''\n"
        "linecache.cache['<text>'] = (len(text), None, text.splitlines(True), '')\n"
        "space = {}\nexec(compile('import triton.language as tl\\n' + text, '<text>', 'exec'), space)\n"
        f"{KERNEL}\nscale_kernel = triton.jit(space['scale_kernel'])\n{PLAIN}",
        "is not defined in the file's text",
    ),
}  # fmt: skip

COMPILED = "scale_kernel.warmup(x, weight, y, columns, factor, BLOCK=512, num_warps=4, grid=(1,))"

SAME = {
    "plain": SOURCE,
    "compiled code changed": SOURCE.replace(
        "    scale_kernel[", f"    made = {COMPILED}\n    made.asm['ptx'] = made.hash = ''\n    scale_kernel["
    ),
    "file rewritten": f"from pathlib import Path\nPath(__file__).write_text('''{WRONG}''')\n{SOURCE}",
    "other encoding": f"# coding: utf-7\n# +AAo-raise SystemExit(3)\n{SOURCE}",
    "module in the folder": "from pathlib import Path\nPath('apex.py').write_text('1 / 0')\n"
    f"try:\n    import apex\nexcept ImportError:\n    pass\n{SOURCE}",
    "helper with a text": SOURCE.replace("    row = tl", '    """Scale\n  rows."""\n    row = tl'),
}


def _traced_unscreened(source: str, report: Report) -> bytes:
    try:
        traced = trace(Kernel(source=source), SCALE, H100, Path.cwd(), report.phase)
    except Rejected as rejected:
        return json.dumps(["refused", rejected.reason]).encode()
    return json.dumps(["built", traced[0].build.launches[0].normal_ptx]).encode()


@pytest.fixture(scope="module")
def ends():
    warm_up(H100.arch)
    sources = {name: source for name, (source, _) in REFUSED.items()} | SAME
    tasks = [partial(_traced_unscreened, source) for source in sources.values()]
    outcomes = dict(run_forked(tasks, workers=2, limits=LIMITS))
    assert all(isinstance(outcome, Returned) for outcome in outcomes.values()), outcomes
    return {name: json.loads(outcomes[index].value) for index, name in enumerate(sources)}


@pytest.mark.parametrize("name", REFUSED)
def test_another_text_than_the_candidates_is_refused(ends, name):
    end, reason = ends[name]
    assert end == "refused"
    assert REFUSED[name][1] in reason


@pytest.mark.parametrize("name", SAME)
def test_what_is_built_is_the_text_that_was_handed_in(ends, name):
    assert ends[name] == ends["plain"]
    assert ends[name][0] == "built"
