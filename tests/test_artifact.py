import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt import artifact
from kopt.errors import CorruptArtifact, TableError
from kopt.llm.ledger import ledger_lines
from kopt.model.kernel import Candidate, ProposalStatus, Slot
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, SelectionRow, TechniqueRow, Trial

SLOT = Slot(slot=3, parent="p", parent_rank=0, bottleneck=1, model="m", sample=0)

slots = st.builds(
    Slot, slot=st.integers(0, 999), parent=st.text(), parent_rank=st.integers(0, 9), bottleneck=st.integers(0, 9),
    model=st.text(), sample=st.integers(0, 9), skipped=st.text(),
)  # fmt: skip


@given(slots)
def test_a_digest_survives_a_round_trip(slot):
    assert artifact.digest(Slot.model_validate_json(artifact.canonical_json(slot))) == artifact.digest(slot)


@given(st.dictionaries(st.text(), st.integers()))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value):
    assert artifact.canonical_json(dict(reversed(value.items()))) == artifact.canonical_json(value)


def test_a_digest_does_not_depend_on_the_hash_seed():
    program = "from kopt.artifact import digest; print(digest({'b': [1, 2], 'a': {'y': 1, 'x': 'ü'}}))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in "012"
    }
    assert len(digests) == 1


def test_a_set_has_no_canonical_json():
    with pytest.raises(TypeError):
        artifact.canonical_json({"a", "b"})


def test_fields_cannot_run_into_each_other():
    assert artifact.digest(["ab", "c"]) != artifact.digest(["a", "bc"])


@given(st.lists(slots, max_size=20))
def test_a_table_survives_a_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "slots.parquet"
    artifact.write_table(path, rows, Slot)
    assert artifact.read_table(path, Slot) == rows


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        artifact.write_table(tmp_path / name, [SLOT] * 3, Slot)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_table_keeps_its_columns(tmp_path):
    artifact.write_table(tmp_path / "t", [], Slot)
    assert artifact.read_table(tmp_path / "t", Slot) == []


@pytest.mark.parametrize("model", [Candidate, BuildRow, EvaluationRow, RankRow, TechniqueRow, SelectionRow, Trial])
def test_every_row_model_has_a_column_for_every_field(model):
    assert artifact.table_schema(model).names == list(model.model_fields)


def test_a_table_of_another_schema_is_refused(tmp_path):
    artifact.write_table(tmp_path / "t", [SLOT], Slot)
    with pytest.raises(TableError, match="columns of Trial"):
        artifact.read_table(tmp_path / "t", Trial)


def test_a_torn_table_is_refused(tmp_path):
    artifact.write_table(tmp_path / "t", [SLOT], Slot)
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:-9])
    with pytest.raises(TableError, match="delete it and run again"):
        artifact.read_table(tmp_path / "t", Slot)


def test_an_enumeration_comes_back_as_itself(tmp_path):
    candidate = Candidate(
        round=1, attempt=0, slot=0, parent="", bottleneck=1, model="m", sample=0, status=ProposalStatus.NONE
    )
    artifact.write_table(tmp_path / "t", [candidate], Candidate)
    assert artifact.read_table(tmp_path / "t", Candidate)[0].status is ProposalStatus.NONE


def test_a_value_that_is_not_one_is_refused(tmp_path):
    (tmp_path / "v.json").write_text('{"slot": 1}')
    with pytest.raises(CorruptArtifact, match="is not a Slot"):
        artifact.read_value(tmp_path / "v.json", Slot)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    artifact.write_text(path, "before")
    with pytest.raises(TypeError):
        artifact.write_bytes(path, "not bytes")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_new_files_of_one_name_the_first_stays(tmp_path):
    assert artifact.write_new_bytes(tmp_path / "file", b"first")
    assert not artifact.write_new_bytes(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_system_without_hard_links_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(artifact.os, "link", refuse)
    assert artifact.write_new_bytes(tmp_path / "file", b"content")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"content")]


def test_tables_are_read_and_written_without_numpy(tmp_path):
    """NumPy would be the slowest import of most jobs; whoever needs it loads it afterwards."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kopt.artifact import read_table, write_table\n"
        "from kopt.model.base import Value\n"
        "class Row(Value):\n"
        "    name: str\n"
        "path = Path(sys.argv[1])\n"
        "write_table(path, [Row(name='one')], Row)\n"
        "assert read_table(path, Row) == [Row(name='one')]\n"
        "assert 'numpy' not in sys.modules\n"
        "import numpy\n"
        "assert numpy.arange(3).sum() == 3\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.parquet")], check=True)


NO_FILES = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = Path("x")
    make(path)
    for read in (artifact.read_value, artifact.read_table):
        with pytest.raises((CorruptArtifact, TableError), match="not a plain file"):
            read(path, Slot)
    with pytest.raises(CorruptArtifact, match="not a plain file"):
        ledger_lines(path)
