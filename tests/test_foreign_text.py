"""Text from outside kopt: names, numbers and characters that Python's readers take for more, or less, than they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from kopt.config import Config
from kopt.device.hardware.gpus import Gpu, visible_gpus
from kopt.device.reference.rejection import REASON_CHARS, bounded
from kopt.errors import ConfigError, TaxonomyError
from kopt.estimate.registers import integer
from kopt.load_config import read
from kopt.model.asking import CallOptions
from kopt.model.problem import Tolerance
from kopt.sandbox.processes import descendants
from kopt.techniques import taxonomy

NAME_ITSELF = r"""
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"\xff\xfe) 1 (")  # PR_SET_NAME
print(flush=True)
sys.stdin.read()
"""


def test_a_process_with_a_name_that_is_no_text_is_found_below_its_parent():
    process = subprocess.Popen([sys.executable, "-c", NAME_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        assert process.pid in descendants([os.getpid()])[os.getpid()]
    finally:
        process.communicate(timeout=10)


def test_a_reason_with_half_a_character_can_be_written():
    assert bounded("ValueError: \ud800").encode() == b"ValueError: ?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31merror:\x1b[0m no such thing", "error: no such thing"),
        ("a\x1b[2J\x1b[1;1Hb\x9b2Kc", "abc"),
        ("\x1b]0;title\x07\x1bc", r"\x1b]0;title\x07\x1bc"),
        ("wrong\rright", r"wrong\rright"),
        ("one\r\n\ttwo", "one\n\ttwo"),
        ("a\x00b\x08\x7f\x85", r"a\x00b\x08\x7f\x85"),
        ("\u202edessap\u2066\u200f\u2028", r"\u202edessap\u2066\u200f\u2028"),
        ("\U000e0041\u200b\ufeff", r"\U000e0041\u200b\ufeff"),
        ("größer als 3 µs\u00a0→ 東", "größer als 3 µs → 東"),
    ],
)
def test_a_reason_shows_what_nobody_sees_and_leaves_a_terminal_as_it_is(text, shown):
    assert bounded(text) == shown


def test_a_cut_reason_ends_no_sequence_of_a_terminal_in_the_middle():
    text = bounded("\x1b[2J\u202e" * 100_000)
    assert text.replace("\n", "").isprintable()
    assert len(text) <= REASON_CHARS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "nan", "１"])
@pytest.mark.parametrize("field", ["absolute", "relative"])
def test_a_tolerance_that_everything_or_nothing_meets_is_refused(field, value):
    with pytest.raises(ValidationError):
        Tolerance(**{"absolute": 0.1, "relative": 0.1} | {field: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "inf", "nan", "１２"])
def test_a_setting_that_is_no_finite_number_is_refused(value):
    with pytest.raises(ValidationError):
        CallOptions(deadline_seconds=value)
    with pytest.raises(ValidationError):
        Config(budget_usd=value)


NOT_YAML = ["a: 2026-13-01", "a: [", "a: \x00", f"a: {'9' * 5000}", "[" * 5000]


@pytest.mark.parametrize("text", NOT_YAML, ids=["date", "open", "nul", "digits", "deep"])
def test_a_file_that_yaml_cannot_read_is_one_error_of_ours(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read(path)
    with pytest.raises(TaxonomyError):
        taxonomy.load(path)


def test_a_file_that_is_no_text_is_one_error_of_ours(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError):
        read(path)
    with pytest.raises(TaxonomyError):
        taxonomy.load(path)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("0x2", 2), ("-1", -1), ("%r1", None), ("", None), ("1.0", None)]
)
def test_an_operand_of_ptx_is_a_literal_or_none(text, value):
    assert integer(text) == value


@pytest.mark.parametrize(
    ("visible", "count"), [("0", 1), ("０", 0), ("²", 0), ("-1", 0), ("1_0", 0), ("NoDevFiles", 0)]
)
def test_a_visible_gpu_is_named_by_ascii_digits(visible, count):
    gpu = Gpu(uuid="GPU-1", name="n", memory_bytes=1, driver="1", arch=90, index=0)
    assert len(visible_gpus({"CUDA_VISIBLE_DEVICES": visible}, [gpu])) == count
