"""Kernels and JSON out of whatever a model writes; nothing makes the readers raise."""

from __future__ import annotations

import contextlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_servers import PRICE, PROTOCOLS, request_to, table_for
from pydantic import BaseModel

from kopt.artifact import digest
from kopt.llm.outcome import outcome, outcome_of_any
from kopt.llm.provider import Failed, NotTheProtocol
from kopt.llm.reply import Answered, Empty, NoReplyReason, Refused, Truncated, Unanswered, Usage, joined
from kopt.llm.text.extract import Extracted, NoKernel, NotExtracted, continuations, kernel_in, kernel_of
from kopt.llm.text.json_reply import NoJson, NotRead, Read, flags_of, object_in, object_of, value_of

NAME = "kernel_function"
GOOD = "import triton\n\n\ndef kernel_function(x):\n    return x\n"
OTHER = "import triton\n\n\ndef helper(x):\n    return x\n"
USED = Usage()
TABLE = table_for(1)
CHAT = TABLE.model("openai-chat")
ASKED = request_to(TABLE, "openai-chat", "x")


def answered(text: str) -> Answered:
    return Answered(text=text, usage=USED, stop="stop")


WRITTEN = {
    "a python fence": f"Wider tiles help here.\n\n```python\n{GOOD}```\nDone.",
    "a fence without a language": f"```\n{GOOD}```",
    "a py fence": f"```py\n{GOOD}```",
    "tildes": f"~~~python\n{GOOD}~~~",
    "four marks": f"````python\n{GOOD}````",
    "Windows line ends": f"```python\n{GOOD}```".replace("\n", "\r\n"),
    "an indented fence in a list": "1. So:\n\n" + "".join(f"   {x}\n" for x in f"```python\n{GOOD}```".split("\n")),
    "a quoted fence": "".join(f"> {x}\n" for x in f"```python\n{GOOD}```".split("\n")),
    "no fence": GOOD,
    "no fence and prose around": f"Here is the kernel:\n\n{GOOD}\nThis should be faster because of reasons.\n",
    "a fence never closed": f"Sure.\n```python\n{GOOD}",
    "a fence only at the end": f"{GOOD}```",
    "tags": f"<kernel>\n{GOOD}</kernel>",
    "several blocks, the kernel first": f"```python\n{GOOD}```\nUsed as\n```python\ny = kernel_function(x)\n```",
    "several blocks, a sketch first": f"```python\n{OTHER}```\nand\n```python\n{GOOD}```",
    "a shell block first": f"```bash\npip install triton\n```\n```python\n{GOOD}```",
    "a broken block first": f"```python\ndef kernel_function(:\n```\nCorrected:\n```python\n{GOOD}```",
    "two fences that open": f"```python\n{OTHER}\n```python\n{GOOD}```",
    "a byte-order mark": f"\ufeff```python\n{GOOD}```",
    "an info line": f'```python title="kernel.py"\n{GOOD}```',
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=list(WRITTEN))
def test_the_kernel_is_found_however_it_is_written(text):
    extraction = kernel_in(text, NAME)
    assert isinstance(extraction, Extracted)
    assert extraction.kernel.source == GOOD


def test_the_last_of_several_definitions_wins():
    later = GOOD.replace("return x", "return x + 0")
    extraction = kernel_in(f"```python\n{GOOD}```\nBetter:\n```python\n{later}```", NAME)
    assert extraction.kernel.source == later


def test_the_description_is_the_first_paragraph_of_prose():
    extraction = kernel_in(WRITTEN["a python fence"], NAME)
    assert extraction.description == "Wider tiles help here."


MISSING = {
    NoKernel.NO_CODE: answered("I would try larger tiles."),
    NoKernel.NO_ENTRY: answered(f"```python\n{OTHER}```"),
    NoKernel.SYNTAX: answered("```python\ndef kernel_function(x:\n    return x\n```"),
    NoKernel.TRUNCATED: Truncated(text=f"```python\n{GOOD}\n\ndef more(", usage=USED, stop="length"),
    NoKernel.REFUSED: Refused(text="No.", usage=USED, stop="refusal"),
    NoKernel.EMPTY: Empty(usage=USED, stop="stop"),
    NoKernel.UNANSWERED: Unanswered(reason=NoReplyReason.BUDGET, detail="over"),
}


@pytest.mark.parametrize("reason", MISSING)
def test_a_reply_without_a_kernel_says_why(reason):
    extraction = kernel_of(MISSING[reason], NAME)
    assert isinstance(extraction, NotExtracted)
    assert extraction.reason is reason
    assert extraction.detail


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import torch\n\ndef kernel_function(x:\n    return x\n",
            "line 3: '(' was never closed: def kernel_function(x:",
        ),
        ("def kernel_function(x):\nreturn x\n", "on line 1: return x"),
        (
            "def kernel_function(x):\n    return x $ \x1b[2J\u202ey\n",
            "line 2: invalid non-printable character U+001B: return x $ \\u202ey",
        ),
        (f"def kernel_function(x):\n    return ({'x + ' * 50}$)\n", "x + $)"),
    ],
)
def test_a_syntax_error_is_quoted_with_its_line_on_one_line(code, said):
    extraction = kernel_of(answered(f"```python\n{code}```"), NAME)
    assert isinstance(extraction, NotExtracted)
    assert extraction.detail.endswith(said) or said in extraction.detail
    assert extraction.detail.isprintable()
    assert len(extraction.detail) < 160


def test_a_truncated_reply_with_a_whole_kernel_is_usable():
    reply = Truncated(text=f"```python\n{GOOD}```\nThis is fas", usage=USED, stop="length")
    assert isinstance(kernel_of(reply, NAME), Extracted)


SHARDS = st.sampled_from(
    ["```", "```python\n", "~~~", "\n", GOOD, OTHER, "def ", "kernel_function", "(", ":\n    ", "\x00", "\ud800", "> ",
     "<kernel>", "</code>", "{", "}", '"', "'''", "\\", ",", "[", "true", "//", "class A:", "@triton.jit\n", "\t", "é"]
)  # fmt: skip
TEXTS = st.lists(SHARDS | st.text(max_size=12), max_size=25).map("".join)


@given(TEXTS)
def test_extraction_never_raises_and_what_it_finds_defines_the_entry(text):
    extraction = kernel_of(answered(text), NAME)
    if isinstance(extraction, Extracted):
        names = compile(extraction.kernel.source, "k", "exec").co_names
        assert NAME in names
    assert isinstance(extraction, Extracted | NotExtracted)


@given(st.text(alphabet=string.ascii_letters + " .,\n", max_size=200), st.sampled_from(["python", "py", "", "triton"]))
def test_prose_around_a_fence_does_not_matter(prose, language):
    extraction = kernel_in(f"{prose}\n```{language}\n{GOOD}```\n{prose}", NAME)
    assert isinstance(extraction, Extracted)
    assert extraction.kernel.source == GOOD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_any_json_object_is_read_back_plain_or_fenced(value, fenced):
    text = json.dumps(value, indent=2 if fenced else None)
    assert object_in(f"Here:\n```json\n{text}\n```\nDone." if fenced else text) == value


@given(TEXTS)
def test_reading_json_never_raises(text):
    assert isinstance(object_of(answered(text)), Read | NotRead)
    assert isinstance(flags_of(answered(text), ["kernel_function", "true"]), dict | NotRead)


LAX = {
    "trailing commas": '{"a": [1, 2,], "b": {"c": true,},}',
    "comments": '{"a": [1, 2], // two\n "b": {"c": true} /* so */ }',
    "Python literals": "{'a': [1, 2], 'b': {'c': True}}",
    "prose with braces": 'I used {braces} here. {"a": [1, 2], "b": {"c": true}} And {more}.',
    "a fence": '```json\n{"a": [1, 2], "b": {"c": true}}\n```',
}


@pytest.mark.parametrize("text", LAX.values(), ids=list(LAX))
def test_json_is_read_as_models_write_it(text):
    assert object_in(text) == {"a": [1, 2], "b": {"c": True}}


def test_a_comma_or_slashes_within_a_string_are_left_alone():
    assert object_in('{"a": "x,} // y", "b": [1,]}') == {"a": "x,} // y", "b": [1]}


FLAGS = {
    "booleans": '{"split_k": true, "tma": false}',
    "objects": '{"split_k": {"present": true, "where": "line 3"}, "tma": {"present": false, "where": ""}}',
    "a list of names": '{"techniques": ["split_k"]}',
    "a list of objects": '{"techniques": [{"name": "split_k", "present": "yes"}, {"name": "TMA", "present": 0}]}',
    "other spellings": '{"Split-K": "yes", "tma": "no"}',
    "wrapped": '{"result": {"split_k": 1, "tma": 0}}',
}


@pytest.mark.parametrize("text", FLAGS.values(), ids=list(FLAGS))
def test_yes_and_no_by_name_are_read_however_they_are_written(text):
    assert flags_of(answered(text), ["split_k", "tma"]) == {"split_k": True, "tma": False}


def test_names_that_a_reply_does_not_mention_are_absent():
    assert flags_of(answered('{"split_k": true}'), ["split_k", "tma"]) == {"split_k": True}
    missing = flags_of(answered('{"other": true}'), ["split_k", "tma"])
    assert isinstance(missing, NotRead)
    assert missing.reason is NoJson.WRONG_SHAPE


class Shape(BaseModel):
    count: int
    name: str = ""


def test_an_object_is_checked_against_its_model():
    assert value_of(answered('{"count": 3, "extra": 1}'), Shape) == Shape(count=3)
    wrong = value_of(answered('{"count": "many"}'), Shape)
    assert isinstance(wrong, NotRead)
    assert wrong.reason is NoJson.WRONG_SHAPE


def test_a_truncated_object_says_so():
    reply = Truncated(text='{"count": 3, "na', usage=USED, stop="length")
    assert object_of(reply).reason is NoJson.TRUNCATED


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(body=JSON)
def test_any_body_is_a_reply_or_not_the_protocol(protocol, body):
    with contextlib.suppress(NotTheProtocol, Failed):
        outcome(body, ASKED, TABLE.model(protocol))
    with contextlib.suppress(NotTheProtocol):
        outcome_of_any(body, ASKED, TABLE.model(protocol))


def test_a_reply_with_half_a_character_can_be_kept():
    choice = {"message": {"content": "a\ud800b"}, "finish_reason": "stop"}
    assert len(digest(outcome({"choices": [choice]}, ASKED, CHAT))) == 64


def test_an_escaped_half_of_a_character_in_json_can_be_kept():
    """JSON may escape a lone surrogate, which no file can hold."""
    shape = value_of(answered('{"count": 1, "name": "a\\ud800b"}'), Shape)
    assert shape == Shape(count=1, name="a?b")
    assert len(digest(object_of(answered('{"\\ud800": ["\\udfff"]}')))) == 64


@pytest.mark.parametrize("count", [10**400, 10**13, -1, 1.5, "many", True, float("nan"), float("inf"), None, [], 0])
def test_a_reply_whose_count_of_tokens_is_none_is_kept_at_the_most_that_it_may_cost(count):
    usage = {"prompt_tokens": count, "completion_tokens": 5}
    reply = outcome({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}, ASKED, CHAT)
    assert reply.text == "x"
    assert reply.usage.estimated
    assert reply.usage.output == ASKED.max_output_tokens
    assert reply.usage.dollars == PRICE.worst(ASKED)


@pytest.mark.parametrize("count", ["100", 100.0])
def test_a_count_of_tokens_may_be_written_as_a_text_or_with_a_point(count):
    usage = {"prompt_tokens": count, "completion_tokens": 5}
    reply = outcome({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}, ASKED, CHAT)
    assert (reply.usage.input, reply.usage.output, reply.usage.estimated) == (100, 5, False)


def test_a_count_of_output_that_is_too_small_for_the_text_is_not_believed():
    usage = {"prompt_tokens": 100, "completion_tokens": 1}
    choice = {"message": {"content": "x" * 1000}, "finish_reason": "stop"}
    assert outcome({"choices": [choice], "usage": usage}, ASKED, CHAT).usage.estimated


def test_reasoning_that_a_server_hides_from_the_output_is_paid_all_the_same():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    reply = outcome({"choices": [choice], "usage": usage}, ASKED, CHAT)
    assert (reply.usage.output, reply.usage.reasoning) == (105, 100)


def cut(text):
    return Truncated(text=text, usage=USED, stop="length")


def test_code_that_parses_and_may_lack_its_last_lines_is_cut_off():
    """Cut after a whole line: what is there parses, and is not the kernel."""
    extraction = kernel_of(cut(f"```python\n{GOOD}"), NAME)
    assert isinstance(extraction, NotExtracted)
    assert extraction.reason is NoKernel.TRUNCATED


def test_fences_inside_a_docstring_do_not_end_the_kernel():
    told = GOOD.replace(
        "return x", '"""Doubles.\n\n    ```python\n    kernel_function(x)\n    ```\n    """\n    return x'
    )
    assert "```" in told
    extraction = kernel_in(f"Like this:\n```python\n{told}```\nDone.", NAME)
    assert isinstance(extraction, Extracted)
    assert extraction.kernel.source == told


def test_a_kernel_and_its_host_function_in_two_blocks_are_one_source():
    kernel = "import triton\n\n\n@triton.jit\ndef inner(x):\n    pass\n"
    host = "def kernel_function(x):\n    inner[(1,)](x)\n    return x\n"
    extraction = kernel_in(f"The kernel:\n```python\n{kernel}```\nIts host function:\n```python\n{host}```\n", NAME)
    assert isinstance(extraction, Extracted)
    assert extraction.kernel.source == f"{kernel}\n\n{host}"


MANNERS = ("goes on", "opens the fence again", "says sorry first", "begins anew", "anew, bare")


@given(st.integers(1, len(GOOD) - 1), st.sampled_from(MANNERS))
def test_a_continuation_gives_the_whole_kernel_however_it_goes_on(place, manner):
    first = cut(f"Here:\n```python\n{GOOD[:place]}")
    left = GOOD[len(GOOD[:place].rstrip()) :] if GOOD[:place].strip() else GOOD
    texts = {
        "goes on": f"{left}```\n", "opens the fence again": f"```python\n{GOOD[place:]}```\n",
        "says sorry first": f"Sorry, here is the rest.\n\n```python\n{GOOD[place:]}```\n",
        "begins anew": f"```python\n{GOOD}```\n", "anew, bare": f"{GOOD}```\n",
    }  # fmt: skip
    ways = [joined(first, answered(text)) for text in continuations(first.text, texts[manner])]
    extraction = [kernel for way in ways if isinstance(kernel := kernel_of(way, NAME), Extracted)]
    assert extraction
    namespace: dict = {}
    exec(extraction[0].kernel.source, namespace)
    assert namespace[NAME](3) == 3
