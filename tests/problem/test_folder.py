import os
import shutil
from pathlib import Path

import pytest
import yaml

from kopt.device.facts.facts import problem_facts
from kopt.errors import ProblemError
from kopt.model.problem import Layout
from kopt.problem.folder import files, find, format_of, load, names
from kopt.problem.formats import native
from kopt.problem.write import declaration as declaration_of

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of matvec that a test may break."""
    return Path(shutil.copytree(PROBLEMS / "matvec", tmp_path / "matvec"))


def rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_names_are_sorted_folders(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert names(tmp_path) == ("a", "b")


def test_a_missing_folder_of_problems_has_no_names(tmp_path: Path) -> None:
    assert names(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_shipped_problem_loads(name: str) -> None:
    problem = load(PROBLEMS / name)
    assert problem.name == name
    assert problem.hidden
    assert "def kernel_function" in problem.seed.source


def test_loading_twice_gives_equal_values() -> None:
    assert load(PROBLEMS / "softmax") == load(PROBLEMS / "softmax")


def test_matvec_is_declared_at_full_size() -> None:
    problem = load(PROBLEMS / "matvec")
    assert problem.dtype == "bfloat16"
    assert "M = 2048\nK = 1048576" in problem.reference


def test_unknown_problem_names_the_nearest() -> None:
    with pytest.raises(ProblemError, match="unknown problem 'matvek'; did you mean 'matvec'"):
        load(PROBLEMS / "matvek")


def test_folders_that_hold_no_problem_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    with pytest.raises(ProblemError, match="holds no problems") as caught:
        load(tmp_path / "privat")
    assert "private" not in str(caught.value)


def test_a_word_is_a_shipped_problem_s_name_or_with_a_slash_a_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find("matvec", PROBLEMS) == PROBLEMS / "matvec"
    assert find(str(folder), PROBLEMS) == folder
    monkeypatch.chdir(folder)
    for word in (".", "./", "../matvec", str(folder / "..") + "/matvec/"):
        assert load(find(word, PROBLEMS)) == load(folder)


@pytest.mark.parametrize("word", ["../etc", "secret", "..", "../matvek", "", "loop", "file", "x" * 300])
def test_a_path_to_no_problem_is_refused_and_only_shipped_problems_are_named(tmp_path: Path, word: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "problem.yaml").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(ProblemError, match=r"not a folder|holds no problem") as caught:
        find(f"{tmp_path}/own/{word}" if word.startswith("..") else f"{tmp_path}/{word}", PROBLEMS)
    said = str(caught.value)
    assert said.endswith(f" problems are {', '.join(names(PROBLEMS))}")
    assert "own" not in said.replace(f"{tmp_path}/own", "")
    assert ("did you mean 'matvec'?" in said) == (word == "../matvek")


def test_a_name_is_that_of_a_shipped_problem_before_that_of_a_folder_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert find(folder.name, PROBLEMS) == PROBLEMS / "matvec"
    folder.rename("mine")
    Path("empty").mkdir()
    assert find("mine", PROBLEMS) == Path("mine")
    for word in ("empty", "nowhere"):
        with pytest.raises(ProblemError, match=f"unknown problem '{word}'; problems are "):
            load(find(word, PROBLEMS))


FAULTY = {
    "syntax.py": ("def f(:", "syntax.py, line 1: syntax error: "),
    "part.py": (
        "class Model: ...\ndef get_inputs(): ...",
        "part.py: the file defines no get_init_inputs; a problem needs",
    ),
    "other.py": (
        "def gelu(x): ...",
        "other.py: the file defines no Model with get_inputs .*kopt new NAME --from other.py:gelu",
    ),
    "new.py": ("class ModelNew: ...", "new.py: the file defines ModelNew and no Model"),
    "empty.py": ("", "empty.py is empty"),
    "list.json": ("[]", "list.json: the file is in no format that kopt knows"),
}


@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("place", ["", "./"])
def test_a_file_that_holds_no_problem_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text, said = FAULTY[name]
    Path(name).write_text(text)
    with pytest.raises(ProblemError, match=said):
        load(find(f"{place}{name}", PROBLEMS))


def test_a_file_that_is_not_there_is_no_misspelt_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("nowhere.py", "./nowhere.py", f"{tmp_path}/definition.json"):
        with pytest.raises(ProblemError, match=f"there is no file '{word}'"):
            find(word, PROBLEMS)


def test_no_name_and_a_long_one_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ProblemError, match="'' is not a folder"):
        find("", PROBLEMS)
    with pytest.raises(ProblemError, match="unknown problem 'xxx"):
        load(find("x" * 300, PROBLEMS))


def test_a_folder_that_holds_a_part_of_a_problem_is_told_what_is_missing(folder: Path) -> None:
    (folder / "problem.py").unlink()
    with pytest.raises(ProblemError, match=r"matvec: problem.py is missing"):
        load(find(str(folder), PROBLEMS))


def test_a_problem_without_kernel_has_no_seed(folder: Path) -> None:
    (folder / "kernel.py").unlink()
    assert not load(folder).has_seed


@pytest.mark.parametrize("name", ["problem.py", "kernel.py", "problem.yaml"])
def test_a_pipe_is_no_file_of_a_problem(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ProblemError, match=f"matvec/{name} is not a file"):
        load(folder)


@pytest.mark.parametrize("name", ["problem.py", "kernel.py"])
@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("x = " + "-" * 100_000 + "1", "nested too deeply"), ("x\0", "syntax error: .*null bytes")],
)
def test_a_source_that_no_parser_takes_is_refused_with_a_reason(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ProblemError, match=f"matvec/{name}.* ?{said}"):
        load(folder)


@pytest.mark.parametrize("value", ["2020-13-45", "[" * 5000, "\x00"])
def test_a_declaration_that_no_parser_takes_is_refused_with_a_reason(folder: Path, value: str) -> None:
    (folder / "problem.yaml").write_text(f"dtype: {value}")
    with pytest.raises(ProblemError, match=r"not YAML|nested too deeply") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_problem(folder: Path) -> None:
    before = load(folder)
    for name in ("problem.py", "kernel.py"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8-sig")
    assert load(folder) == before


def test_files_are_those_that_exist(folder: Path) -> None:
    assert [file.name for file in files(folder)] == ["problem.py", "kernel.py", "problem.yaml"]
    (folder / "kernel.py").unlink()
    assert [file.name for file in files(folder)] == ["problem.py", "problem.yaml"]


@pytest.mark.parametrize("name", ["Model", "get_inputs", "get_init_inputs"])
def test_reference_without_a_required_name_is_refused(folder: Path, name: str) -> None:
    rewritten(folder / "problem.py", f" {name}(", " something_else(")
    with pytest.raises(ProblemError, match=f"matvec/problem.py defines no {name}"):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dtype:", "dtipe:", "unknown key 'dtipe'; did you mean 'dtype'"),
        ("hidden:", "hiden:", "unknown key 'workloads.hiden'; did you mean 'hidden'"),
        ("bfloat16", "bfloat", "dtype: unknown 'bfloat'; did you mean 'bfloat16'"),
        ("M: 8,", "N: 8,", "workload small.tiles overrides 'N', which problem.py lacks"),
        ("K: 4096", "KK: 4096", "overrides 'KK', which problem.py lacks; did you mean 'K'"),
        ("M: 8,", "M: eight,", r"workloads.small.tiles.M: .*got 'eight'"),
        ("dtype: bfloat16", "mutates: [C]\ndtype: bfloat16", "mutates names 'C', not an argument of Model.forward"),
        ("dtype: bfloat16", "dtype: [", "problem.yaml is not YAML"),
        ("dtype: bfloat16", "tolerance: {absolut: 1, relative: 0}\ndtype: bfloat16", "did you mean 'absolute'"),
    ],
)
def test_bad_declaration_is_one_clear_line(folder: Path, old: str, new: str, message: str) -> None:
    rewritten(folder / "problem.yaml", old, new)
    with pytest.raises(ProblemError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_empty_declaration_is_refused(folder: Path) -> None:
    (folder / "problem.yaml").write_text("")
    with pytest.raises(ProblemError, match="must be a mapping"):
        load(folder)


@pytest.mark.parametrize("name", ["problem.py", "kernel.py"])
def test_syntax_error_is_located(folder: Path, name: str) -> None:
    (folder / name).write_text("x = 1\ndef broken(:\n")
    with pytest.raises(ProblemError, match=f"matvec/{name}, line 2: syntax error"):
        load(folder)


def test_seed_without_entry_point_is_refused(folder: Path) -> None:
    rewritten(folder / "kernel.py", "def kernel_function", "def kernel")
    with pytest.raises(ProblemError, match=r"matvec/kernel.py defines no kernel_function"):
        load(folder)


def test_loading_runs_nothing(folder: Path) -> None:
    for name in ("problem.py", "kernel.py"):
        path = folder / name
        path.write_text(path.read_text() + "\nraise SystemExit('this was run')\n")
    assert load(folder).name == "matvec"


def test_declared_tolerance_and_mutation_are_kept(folder: Path) -> None:
    rewritten(folder / "problem.yaml", "dtype:", "mutates: [A]\ntolerance: {absolute: 0.5, relative: 0.01}\ndtype:")
    problem = load(folder)
    assert problem.mutates == ("A",)
    assert problem.tolerance is not None
    assert problem.tolerance.relative == 0.01


def test_a_declaration_may_leave_anything_open(folder: Path) -> None:
    (folder / "problem.yaml").unlink()
    draft = native.draft(folder)
    assert format_of(folder) is native.FORMAT
    assert (draft.dtype, draft.small, draft.hidden) == (None, None, None)
    assert [workload.constants for workload in draft.main] == [{}]
    (folder / "problem.yaml").write_text("workloads: {small: {a: {M: 8}}}\n")
    draft = native.draft(folder)
    assert [workload.name for workload in draft.small or ()] == ["a"]
    assert draft.hidden == ()  # nothing is derived beside declared small workloads
    (folder / "problem.yaml").write_text("{}\n")
    assert native.draft(folder).small is None


def test_what_is_left_open_is_derived(folder: Path) -> None:
    (folder / "problem.yaml").write_text("dtype: bfloat16\n")
    problem = load(folder)
    assert [workload.name for workload in problem.small] == ["tiles", "long_K", "long_M", "ragged"]
    assert problem.has_seed
    assert problem.layout is Layout.REFERENCE


def test_a_workload_may_override_a_number_that_has_no_name(folder: Path) -> None:
    rewritten(folder / "problem.py", "M = 2048\n", "")
    rewritten(folder / "problem.py", "torch.randn(M, K)", "torch.randn(2048, K)")
    for old, new in (("{M: 8,", "{size_0: 8,"), ("{M: 3,", "{size_0: 3,"), ("{M: 1000,", "{size_0: 1000,")):
        rewritten(folder / "problem.yaml", old, new)
    assert "size_0 = 2048" in load(folder).reference
    rewritten(folder / "problem.yaml", "{size_0: 8,", "{size_7: 8,")
    with pytest.raises(ProblemError, match=r"overrides 'size_7', which problem.py lacks; did you mean 'size_0'"):
        load(folder)


def test_a_file_of_another_format_is_a_problem_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "23_Softmax.py"
    file.write_text("class Model: ...\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n")
    assert find(str(file), PROBLEMS) == file
    assert files(file) == (file,)
    monkeypatch.chdir(tmp_path)
    assert find(file.name, PROBLEMS) == Path(file.name)
    assert format_of(file).draft(file).name == "23_Softmax"


def test_weights_of_timed_workloads_reach_the_facts(folder: Path) -> None:
    with (folder / "problem.yaml").open("a") as declaration:
        declaration.write("weights: {m2048_k1048576: 2.5}\n")
    problem = load(folder)
    assert problem.weights == {"m2048_k1048576": 2.5}
    assert [facts.weight for facts in problem_facts(problem).workloads] == [2.5]
    assert yaml.safe_load(declaration_of(problem, problem.reference))["weights"] == problem.weights


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("weights: {ragged: 2}", "weights names 'ragged', not a main workload"),
        ("floor: {m2048_k104857: {bytes: 1, flops: 1}}", "did you mean 'm2048_k1048576'"),
        ("weights: {m2048_k1048576: 0}", "more than 0"),
        ("weights: {m2048_k1048576: .inf}", "finite"),
    ],
)
def test_a_weight_or_floor_that_says_nothing_is_refused(folder: Path, line: str, message: str) -> None:
    with (folder / "problem.yaml").open("a") as declaration:
        declaration.write(line + "\n")
    with pytest.raises(ProblemError, match=message):
        load(folder)
