import os
import sys

import pytest

from kopt import provenance
from kopt.provenance import code_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package called kopt whose `stage` imports `part`, lazily imports `late`, and never imports `stranger`."""
    files = {
        "__init__": "",
        "stage": "from kopt import part\n\ndef run():\n    import kopt.late\n    return part.X\n",
        "part": "X = 1\n",
        "late": "Y = 1\n",
        "stranger": "Z = 1\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)

    def digest_after(name=None, text=""):
        if name:
            (tmp_path / f"{name}.py").write_text(text)
        code_digest.cache_clear()
        provenance._read.cache_clear()
        provenance._parsed.cache_clear()
        return code_digest("kopt.stage")

    yield digest_after
    code_digest.cache_clear()
    provenance._read.cache_clear()
    provenance._parsed.cache_clear()


def test_comments_docstrings_and_formatting_do_not_count(package):
    before = package()
    assert package("part", '"""New words."""\n\n# a comment\nX = (1)\n"""About X."""\n') == before


@pytest.mark.parametrize("name", ["stage", "part", "late"])
def test_an_edit_anywhere_in_the_import_closure_counts(package, name):
    before = package()
    assert package(name, "from kopt import part\nX = 2\n") != before


def test_an_edit_outside_the_import_closure_does_not_count(package):
    before = package()
    assert package("stranger", "Z = 2\n") == before


def test_a_module_that_joins_a_discovered_package_counts(package, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").touch()
    before = package("stage", 'from kopt.discovery import modules_of\nPARTS = modules_of("kopt.parts")\n')
    assert package("parts/new", "X = 1\n") != before


def test_what_a_digest_needs_is_kept_beside_the_bytecode_and_never_outlives_its_source(package, tmp_path):
    before = package()
    (kept,) = (tmp_path / "__pycache__").glob("part.*.facts.json")
    dates = os.stat(tmp_path / "part.py")
    (tmp_path / "part.py").write_text("X = 2\n")  # as long as before
    os.utime(tmp_path / "part.py", ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert package() != before
    assert package("part", "X = 1\n") == before
    for damage in ("", "[]", "[" * 200_000, '["x"]', kept.read_text()[:-9]):
        kept.write_text(damage)
        assert package() == before


def test_nothing_is_kept_where_no_bytecode_is_kept(package, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package()
    assert not (tmp_path / "__pycache__").exists()


def test_digests_do_not_need_a_folder_that_can_be_written_to(package, tmp_path):
    (tmp_path / "__pycache__").write_text("no folder")
    assert package() == package()


def test_a_missing_module_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"kopt\.nothing"):
        code_digest("kopt.nothing")


def test_selection_does_not_depend_on_device_rewriter_or_models():
    pending, seen = ["kopt.stages.select"], set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += provenance._read(name).imported
    packages = {".".join(name.split(".")[:2]) for name in seen}
    assert not packages & {"kopt.device", "kopt.rewrite", "kopt.llm", "kopt.prompts", "kopt.store", "kopt.techniques"}
