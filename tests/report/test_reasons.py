"""A reason that is cut keeps its point."""

import pytest

from kopt.report.reasons import in_its_words, short_reason

PTXAS = (
    "PTXASError: PTXAS error: Internal Triton PTX codegen error\n`ptxas` stderr:\nptxas tmp?.ptx, line 208; error   : "
    "Modifier '.L1::evict_first' not allowed with '.cg'\nptxas tmp?.ptx, line 216; error   : the same\nptxas fatal   : "
    "Ptx assembly aborted due to errors\n\nRepro command: ptxas -lineinfo -v --gpu-name=sm_90a tmp?.ptx -o tmp?.ptx.o"
)


def test_of_ptxas_the_first_error_is_kept():
    assert short_reason(PTXAS, 120) == (
        "PTXASError: line 208; error : Modifier '.L1::evict_first' not allowed with '.cg'"
    )
    assert short_reason("ptxas fatal   : Unresolved extern function 'f'", 120).endswith(
        "Unresolved extern function 'f'"
    )


def test_a_long_reason_keeps_its_begin_and_its_end():
    text = "CompilationError: at 12:8:\n" + "code\n" * 200 + "        ^\nwidth must be a power of two"
    short = short_reason(text, 120)
    assert short.startswith("CompilationError: at 12:8:")
    assert short.endswith("width must be a power of two")
    assert len(short) <= 120


@pytest.mark.parametrize("text", ["", "short", "a\nb", "x" * 120, "x" * 5000, "\x1b[2J: error : gone", PTXAS * 9])
@pytest.mark.parametrize("most", [20, 120, 300])
def test_a_reason_is_one_line_of_bounded_length(text, most):
    short = short_reason(text, most)
    assert len(short) <= most
    assert "\n" not in short
    assert "\x1b" not in short
    assert len(text) > most or "error" in text or short == " ".join(text.split())


def test_words_of_a_proposer_are_marked_and_the_seed_kernels_are_not():
    assert in_its_words("wider\nloads\x1b[2J", "r1a0s0") == ", in its words: wider loads"
    assert in_its_words("the problem's seed kernel", "r0a0s0") == ": the problem's seed kernel"
    assert in_its_words("", "r1a0s0") == ""
