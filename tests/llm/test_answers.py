"""Which part of a reply is its kernel: not reasoning, not a torch reference, not half of an edit, not the parent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.llm.reply import Answered, Empty, Truncated, Usage
from kopt.llm.text.answer import without_reasoning
from kopt.llm.text.edits import Edit, Misfit, edited, edits_in
from kopt.llm.text.extract import Extracted, NoKernel, NotExtracted, kernel_in, kernel_of
from kopt.llm.text.json_reply import Read, object_of

NAME = "kernel_function"
IMPORTS = "import torch\nimport triton\nimport triton.language as tl\n\n\n"
INNER = "@triton.jit\ndef inner(x, BLOCK: tl.constexpr):\n    pass\n"
HOST = "def kernel_function(x):\n    inner[(1,)](x, BLOCK=64)\n    return 'new'\n"
NEW = f"{IMPORTS}{INNER}\n\n{HOST}"
OLD = NEW.replace("new", "old")
USE = "x = torch.randn(4)\nprint(kernel_function(x))\n"
TORCH = "import torch\n\n\ndef kernel_function(x):\n    return torch.softmax(x, 1)\n"


def fenced(code, language="python"):
    return f"```{language}\n{code}```\n"


REASONED = {
    "a draft, then the answer in a fence": f"<think>\n{fenced(OLD)}</think>\nHere:\n{fenced(NEW)}",
    "a draft in a fence, then the answer without one": f"<think>\n{fenced(OLD)}</think>\n{NEW}",
    "a closing mark alone": f"{fenced(OLD)}\n</think>\n{NEW}",
    "a closing mark at the end of a line": f"hm{fenced(OLD)}so.</think>\n{fenced(NEW)}",
    "an answer, then reasoning that never ends": f"{fenced(NEW)}\n<think>\nor else\n{fenced(OLD)}",
    "thinking": f"<thinking>\n{fenced(OLD)}</thinking>\n{fenced(NEW)}",
    "capitals": f"<THINK>\n{fenced(OLD)}</THINK>\n{fenced(NEW)}",
    "brackets": f"[THINK]{fenced(OLD)}[/THINK]{fenced(NEW)}",
    "marks of other makers": f"◁think▷\n{fenced(OLD)}◁/think▷\n{fenced(NEW)}",
    "one within another": f"<think>\na\n<think>\n{fenced(OLD)}</think>\n{fenced(OLD)}</think>\n{fenced(NEW)}",
    "two": f"<think>\n{fenced(OLD)}</think>\n{fenced(NEW)}\n<think>\n{fenced(OLD)}</think>\nDone.",
    "channels": f"<|channel|>analysis<|message|>{fenced(OLD)}<|end|><|start|>assistant<|channel|>final<|message|>"
    f"{fenced(NEW)}<|return|>",
}


@pytest.mark.parametrize("text", REASONED.values(), ids=list(REASONED))
def test_a_draft_in_the_reasoning_is_no_answer(text):
    found = kernel_in(text, NAME)
    assert isinstance(found, Extracted)
    assert found.kernel.source == NEW


CHOSEN = {
    "the parent for comparison": f"Final:\n{fenced(NEW)}\nThe kernel that I was given:\n{fenced(OLD)}",
    "a reference in torch of the same name": f"Final:\n{fenced(NEW)}\nReference:\n{fenced(TORCH)}",
    "a reference first": f"Reference:\n{fenced(TORCH)}\nFinal:\n{fenced(NEW)}",
    "an example of use": f"{fenced(NEW)}\nUsage:\n{fenced(USE)}",
    "JSON": '{"code": "' + NEW.replace("\n", "\\n") + '", "why": "faster"}',
    "a diff beside the whole": fenced("-    return 'old'\n+    return 'new'\n", "diff") + fenced(NEW),
    "marks at the end of the last line": f"```python\n{NEW.rstrip()}```",
    "a closing fence and no line before": f"Here it is: ```python\n{NEW}```",
}


@pytest.mark.parametrize("text", CHOSEN.values(), ids=list(CHOSEN))
def test_the_new_module_with_a_kernel_wins(text):
    found = kernel_in(text, NAME, [OLD])
    assert isinstance(found, Extracted)
    assert found.kernel.source == NEW


PARTS = {
    "the kernel before": [IMPORTS + INNER, HOST],
    "the kernel after": [HOST, IMPORTS + INNER],
    "imports, host and kernel": [IMPORTS, HOST, INNER],
    "a kernel that is corrected": [IMPORTS + INNER.replace("pass", "x / 0"), HOST, IMPORTS + INNER],
    "a kernel that an example of use follows": [HOST, IMPORTS + INNER, "print(kernel_function(1))\n"],
    "a kernel that needs a constant": [IMPORTS + INNER.replace("pass", "y = SIZE"), "SIZE = 4\n", HOST],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_host_code_and_kernels_in_several_blocks_are_one_module(parts):
    found = kernel_in("\n\nand\n\n".join(map(fenced, parts)), NAME)
    assert isinstance(found, Extracted)
    names = compile(found.kernel.source, "k", "exec").co_names
    assert {"triton", "inner", NAME} <= set(names)
    assert "x / 0" not in found.kernel.source
    assert "print" not in names
    assert "SIZE = 4" in found.kernel.source or "SIZE" not in found.kernel.source


CHARACTERS = {
    "no-break spaces": NEW.replace("    ", "\u00a0\u00a0\u00a0\u00a0"),
    "narrow and wide spaces": NEW.replace("    return", "\u202f\u2003\u2002\u3000return"),
    "a zero-width space": NEW.replace("import triton\n", "import triton\u200b\n"),
    "a byte-order mark": "\ufeff" + NEW,
    "a soft hyphen": NEW.replace("inner[", "in\u00adner["),
    "quotes of a word processor": NEW.replace("'new'", "‘new’"),
    "lines that end as on Windows": NEW.replace("\n", "\r\n"),
    "line separators": NEW.replace("pass\n", "pass\u2028"),
    "numbered lines": "".join(f"{n:3d} | {line}\n" for n, line in enumerate(NEW.splitlines(), 1)),
}


@pytest.mark.parametrize("text", CHARACTERS.values(), ids=list(CHARACTERS))
def test_characters_that_no_module_may_hold_are_mended(text):
    found = kernel_in(fenced(text), NAME)
    assert isinstance(found, Extracted)
    assert found.kernel.source == NEW


def test_signs_within_strings_and_comments_stay():
    source = NEW.replace("'new'", "'don’t\u00a0stop'  # “so”") + "\u00a0\n"
    found = kernel_in(fenced(source), NAME)
    assert isinstance(found, Extracted)
    assert "'don’t\u00a0stop'  # “so”" in found.kernel.source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"<think>\n{fenced(OLD)}no, it drops the tail\n</think>\nI could not find a faster kernel.", NoKernel.NO_CODE),
        (f"Nothing better can be done here.\n{fenced(OLD)}", NoKernel.UNCHANGED),
        (f"Nothing better can be done here.\n{fenced('# the same' + chr(10) + OLD)}", NoKernel.UNCHANGED),
        (f"<think>\n{fenced(NEW)}", NoKernel.EMPTY),
    ],
)
def test_nothing_better_is_no_proposal(text, reason):
    found = kernel_of(Answered(text=text, usage=Usage(output=7), stop="stop"), NAME, [OLD])
    assert isinstance(found, NotExtracted)
    assert found.reason is reason


def test_a_reply_of_reasoning_alone_is_named():
    reply = Empty(usage=Usage(output=500, reasoning=500), stop="stop")
    assert kernel_of(reply, NAME).detail == "all 500 output tokens were reasoning (stop)"


def test_json_in_the_reasoning_is_no_answer():
    reply = Answered(text='<think>{"draft": [1, 2, 3, 4]}</think>{"a": 1}', usage=Usage(), stop="stop")
    assert object_of(reply) == Read(value={"a": 1})


PARENT = NEW.replace("'new'", "'old'")
SEARCH = "<<<<<<< SEARCH\n    return 'old'\n=======\n    return 'new'\n>>>>>>> REPLACE\n"
DIFF = (
    "@@ -9,3 +9,3 @@\n def kernel_function(x):\n     inner[(1,)](x, BLOCK=64)\n-    return 'old'\n+    return 'new'\n"
)
EDITS = {
    "SEARCH and REPLACE": SEARCH,
    "the same in a fence": fenced(SEARCH),
    "other words": SEARCH.replace("SEARCH", "ORIGINAL").replace("REPLACE", "UPDATED"),
    "without its indentation": SEARCH.replace("    return", "return"),
    "with tabs and blanks at the end": SEARCH.replace("    return 'old'", "\treturn 'old'  "),
    "with no-break spaces": SEARCH.replace("    ", "\u00a0" * 4),
    "a unified diff": fenced("--- a/kernel.py\n+++ b/kernel.py\n" + DIFF, "diff"),
    "a diff without a fence": "Like so:\n\n--- a/kernel.py\n+++ b/kernel.py\n" + DIFF,
    "a diff with wrong line numbers": fenced(DIFF.replace("-9,3", "-40,9"), "diff"),
    "a diff without line numbers": fenced(DIFF.replace("-9,3 +9,3 @@", ""), "diff"),
    "a diff of changed lines alone": fenced("-    return 'old'\n+    return 'new'\n", "diff"),
    "a patch": f"*** Begin Patch\n*** Update File: kernel.py\n{DIFF}*** End Patch\n",
    "two edits": "<<<<<<< SEARCH\n    return 'old'\n=======\n    return 'newer'\n>>>>>>> REPLACE\n"
    "<<<<<<< SEARCH\n    return 'newer'\n=======\n    return 'new'\n>>>>>>> REPLACE\n",
}


@pytest.mark.parametrize("text", EDITS.values(), ids=list(EDITS))
def test_edits_are_applied_to_the_parent(text):
    found = kernel_in(f"Wider tiles, as told.\n\n{text}", NAME, [PARENT])
    assert isinstance(found, Extracted), found
    assert found.kernel.source == NEW
    assert found.description == "Wider tiles, as told." or "Like so" in text


def test_edits_of_a_failed_candidate_come_before_edits_of_its_parent():
    failed = PARENT.replace("BLOCK=64", "BLOCK=32")
    found = kernel_in(SEARCH, NAME, [failed, PARENT])
    assert isinstance(found, Extracted)
    assert "BLOCK=32" in found.kernel.source


MISFITS = {
    "a line that the parent lacks": (
        "    return 'older'",
        "replaces a line that the kernel does not have: return 'older'",
    ),
    "lines that are apart": ("import torch\n    return 'old'", "do not stand together in the kernel"),
    "several places": ("import triton", "fits at 2 places"),
    "no lines": ("", "says no lines that it replaces"),
}


@pytest.mark.parametrize(("old", "why"), MISFITS.values(), ids=list(MISFITS))
def test_an_edit_that_does_not_fit_says_why(old, why):
    text = f"<<<<<<< SEARCH\n{old}\n=======\n    pass\n>>>>>>> REPLACE\n"
    found = kernel_in(text, NAME, [PARENT + "\n\nimport triton\n"])
    assert isinstance(found, NotExtracted)
    assert found.reason is NoKernel.EDIT
    assert why in found.detail


def test_edits_without_a_parent_are_no_kernel():
    found = kernel_in(SEARCH, NAME)
    assert isinstance(found, NotExtracted)
    assert found.reason is NoKernel.EDIT


def test_an_edit_that_breaks_the_module_says_where():
    found = kernel_in(SEARCH.replace("return 'new'", "return ("), NAME, [PARENT])
    assert isinstance(found, NotExtracted)
    assert "with the edits, line" in found.detail


def test_edits_that_were_cut_off_are_no_kernel():
    text = SEARCH + "<<<<<<< SEARCH\n    inner[(1,)]"
    found = kernel_of(Truncated(text=text, usage=Usage(output=9), stop="length"), NAME, [PARENT])
    assert isinstance(found, NotExtracted)
    assert found.reason is NoKernel.TRUNCATED


LINES = st.lists(st.sampled_from(["a", "  b", "c ", "", "d = 1", "    e"]), min_size=1, max_size=12)


@given(LINES, st.data())
def test_an_edit_changes_its_own_lines_alone_or_says_why_not(lines, data):
    start = data.draw(st.integers(0, len(lines) - 1))
    end = data.draw(st.integers(start + 1, len(lines)))
    changed = edited("\n".join(lines), [Edit(tuple(lines[start:end]), ("new",))])
    if isinstance(changed, str):
        assert changed.split("\n") == [*lines[:start], "new", *lines[end:]]
    else:
        assert isinstance(changed, Misfit)
        assert changed.reason


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", "text", "```", SEARCH, DIFF, "=======\n", NEW]), max_size=9)
)
def test_any_text_is_read(parts):
    text = "".join(parts)
    assert isinstance(kernel_in(text, NAME, [PARENT]), Extracted | NotExtracted)
    assert "<think>" not in without_reasoning(text).split("\n")
    assert all(isinstance(edit, Edit) for edit in edits_in(text))
