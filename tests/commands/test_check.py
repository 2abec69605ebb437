"""`kopt check` says, a line for each requirement, whether a problem can be judged, in the words of a newcomer."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from kopt import cli
from kopt.device.interpret.judge import check_size
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from kopt.preflight.check_lines import Report, Told, end_in_words
from kopt.preflight.problem_check import examined
from kopt.problem.caged import caged_heard

DEVICE = "h100"
HEAD = "import torch\nfrom torch import nn\n\nrows = 512\ncols = 256\n\n"
SMALL = (
    Workload(name="tiles", constants={"rows": 8, "cols": 64}),
    Workload(name="ragged", constants={"rows": 3, "cols": 37}),
)
KERNEL = "def kernel_function({arguments}):\n    ...\n"


def problem(forward, given="torch.randn(rows, cols)", names="x", arguments="", small=SMALL):
    reference = (
        f"{HEAD}class Model(nn.Module):\n    def forward(self, {names}):\n        {forward}\n\n"
        f"def get_inputs():\n    return [{given}]\n\ndef get_init_inputs():\n    return []\n"
    )
    seed = Kernel(source=KERNEL.format(arguments=arguments) if arguments else "")
    main = (Workload(name="given"),)
    return Problem(name="p", reference=reference, seed=seed, dtype=Dtype.FLOAT32, main=main, small=small)


def checked(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the seed kernel is written into the working folder
    report = examined(own, load_device(DEVICE, Path(cli.__file__).parents[1]))
    return report, {line.name: (line.state, line.text) for line in report.lines}


RIGHT = {
    "a scalar loss": (problem("return torch.relu(x).sum()", arguments="x"), "gives output one number float32"),
    "a tuple, in place": (
        problem("residual.add_(x)\n        return torch.tanh(residual), residual.sum(1)",
                given="torch.randn(rows, cols), torch.randn(rows, cols)", names="x, residual", arguments="x, residual"),
        "gives output[0] 512x256 float32, output[1] 512 float32",
    ),
    "a transposed input": (
        problem("return x * 2", given="torch.randn(cols, rows).t()", arguments="x"), "gives output 512x256 float32",
    ),
    "indexes": (
        problem("return x[index]", given="torch.randn(rows, cols), torch.randint(0, rows, (rows,))", names="x, index",
                arguments="x, index"),
        "gives output 512x256 float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_people_bring_can_be_judged(tmp_path, monkeypatch, name):
    own, said = RIGHT[name]
    report, lines = checked(own, tmp_path, monkeypatch)
    assert report.judgeable, report.lines
    assert lines["reference"][1].endswith(said)
    assert lines["kernel"][1].startswith("kernel.py can be called: kernel_function(x")
    assert "ms on NVIDIA H100" in lines["cost"][1]
    assert "s on an idle machine" in lines["time"][1]
    assert end_in_words(report, "p") == "p can be judged"


def test_a_kernel_with_inputs_in_a_list_is_said_to_be_exported_as_a_script(tmp_path, monkeypatch):
    listed = problem("return x[0] + x[1]", given="[torch.randn(rows, cols), torch.randn(rows, cols)]", arguments="x")
    _, lines = checked(listed, tmp_path, monkeypatch)
    assert lines["export"][0] == "note"
    assert "as a script alone (--as script)" in lines["export"][1]


WRONG = {
    "random": (
        problem("return torch.relu(x) + torch.randn_like(x)"),
        "tolerance", "the reference gives another output at every call with equal inputs",
    ),
    "values read": (
        problem("return x * 2 if x.sum() > 0 else x"),
        "reference",
        "workload given: problem.py, line 9, `return x * 2 if x.sum() > 0 else x`: it reads values of tensors",
    ),
    "constant output": (problem("return (x - x).sum(1)"), "tolerance", "a kernel which writes zeros would pass"),
    "wrong shape": (problem("return x @ x"), "reference", "problem.py, line 9, `return x @ x`, raises RuntimeError"),
    "a kernel with other parameters": (
        problem("return x * 2", arguments="x, weight"), "kernel", "kernel.py: parameter weight is no input, model",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("returned", "said"), [("3", "3"), ("{'n': 3}", "{'n': 3}")])
def test_what_a_reference_returns_is_said_where_it_is_no_tensor(tmp_path, monkeypatch, returned, said):
    report, lines = checked(problem(f"return {returned}"), tmp_path, monkeypatch)
    assert f"the reference returns {said} and changes no input" in lines["reference"][1]
    assert [name for name, (state, _) in lines.items() if state == "fails"] == ["reference"]
    assert not report.judgeable


def test_a_reference_that_changes_its_input_and_returns_nothing_can_be_judged(tmp_path, monkeypatch):
    report, lines = checked(problem("x.mul_(2)"), tmp_path, monkeypatch)
    assert lines["reference"][1].endswith("; returns nothing, and changes what it is given")
    assert report.judgeable, report


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_judged_is_said_in_one_line(tmp_path, monkeypatch, name):
    own, requirement, said = WRONG[name]
    report, lines = checked(own, tmp_path, monkeypatch)
    state, text = lines[requirement]
    assert state == "fails"
    assert said in text
    assert "\n" not in text
    assert not report.judgeable
    assert end_in_words(report, "p").startswith("p cannot be judged: ")


def test_the_sizes_that_an_exported_kernel_takes_are_told(tmp_path, monkeypatch):
    alike = problem("return torch.relu(x)", arguments="x").model_copy(update={"hidden": SMALL})
    _, lines = checked(alike, tmp_path, monkeypatch)
    assert lines["sizes"] == ("ok", "an exported kernel takes any x.shape[0], x.shape[1]")
    narrow = (Workload(name="tiles", constants={"cols": 64}), Workload(name="ragged", constants={"cols": 37}))
    state, text = checked(problem("return torch.relu(x)", arguments="x", small=narrow), tmp_path, monkeypatch)[1][
        "sizes"
    ]
    assert state == "note"
    assert "this size alone: x.shape[0] = 512; PyTorch runs for others; to free a size, add a workload" in text
    assert "`other: {rows: 511}` under hidden and under small in problem.yaml" in text


def test_large_sizes_that_are_short_in_all_small_workloads_are_named(tmp_path, monkeypatch):
    small = (*SMALL, Workload(name="wide", constants={"rows": 4, "cols": 250}))
    _, lines = checked(problem("return torch.relu(x)", small=small), tmp_path, monkeypatch)
    assert lines["loops"][0] == "note"
    assert "short in all small workloads: x.shape[0] (8 of 512), x.shape[1] (250 of 256); " in lines["loops"][1]
    long = tuple(Workload(name=f"long_{n}", constants={n: 4}) for n in ("rows", "cols"))
    _, lines = checked(problem("return torch.relu(x)", small=(*SMALL, *long)), tmp_path, monkeypatch)
    assert "loops" not in lines


def test_a_small_workload_that_is_not_small_is_named_and_not_run(tmp_path, monkeypatch):
    large = Workload(name="large", constants={"rows": 2048, "cols": 2048})
    report, lines = checked(problem("return torch.relu(x) * 2", small=(large, SMALL[0])), tmp_path, monkeypatch)
    assert "small workload large (2048x2048, 4,194,304 elements) may take minutes" in lines["small"][1]
    assert report.judgeable
    assert lines["kernel"] == ("note", "none; one of yours, kernel.py, would have kernel_function(x)")


def test_the_command_ends_with_status_1_where_a_problem_cannot_be_judged(tmp_path, capsys):
    folder = tmp_path / "random"
    folder.mkdir()
    own = problem("return torch.relu(x) + torch.randn_like(x)")
    (folder / "problem.py").write_text(own.reference)
    (folder / "problem.yaml").write_text("dtype: float32\nworkloads: {small: {a: {rows: 3, cols: 37}}}\n")
    assert cli.main(["check", str(folder)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ok     files      problem.py, problem.yaml"
    assert said[-1] == "random cannot be judged: tolerance"
    assert not any(line.split()[1] == "seed" for line in said)  # what cannot be judged needs none


def written(own, folder):
    """Write a problem into a new folder, and return its path."""
    folder.mkdir()
    (folder / "problem.py").write_text(own.reference)
    small = "{tiles: {rows: 8, cols: 64}, ragged: {rows: 3, cols: 37}}"
    (folder / "problem.yaml").write_text(f"dtype: float32\nworkloads: {{small: {small}}}\n")
    return str(folder)


def test_a_seed_is_made_before_a_search_and_kept_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # the store is in the working folder, as that of a search
    path = written(problem("return torch.relu(x).sum(1)"), tmp_path / "sums")
    for _ in range(2):
        assert cli.main(["check", path]) == 0
        said = capsys.readouterr().out.splitlines()
        line = "ok     seed       can be made of the reference: 1 kernel, by TorchInductor; whether it is right, "
        assert said[-2:] == [f"{line}a search finds out", "sums can be judged"]
        assert len(list((tmp_path / "results" / "store").glob("*/*/*.json"))) == 1


def test_a_reference_of_which_no_seed_can_be_made_is_told_with_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = written(problem("return torch.fft.rfft(x).abs()"), tmp_path / "waves")
    assert cli.main(["check", path, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["judgeable"], answer["searchable"]) == (True, False)
    (seed,) = (line for line in answer["lines"] if line["name"] == "seed")
    assert seed["state"] == "note"
    assert seed["text"].startswith("none can be made of the reference: TorchInductor has no Triton for aten._fft_r2c")
    assert f"a search needs kernel.py: write it into {path}" in seed["text"]
    report = Report(lines=tuple(answer["lines"]))
    assert end_in_words(report, "waves") == "waves can be judged; a search needs kernel.py first"


def test_what_was_found_before_a_problem_ends_the_cage_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = written(problem('return x if x.device.type == "meta" else __import__("os")._exit(3)'), tmp_path / "ends")
    assert cli.main(["check", path]) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said[:-1]] == [["ok", "files"], ["ok", "reference"], ["fails", "check"]]
    assert "its code cannot be run in the cage: examined exited with status 3" in said[2]


def test_each_line_of_a_check_is_told_as_soon_as_it_is_known(tmp_path):
    own = problem("return torch.relu(x)", arguments="x")
    heard = []
    device = load_device(DEVICE, Path(cli.__file__).parents[1])
    report = caged_heard(
        lambda text: heard.append(Told.model_validate_json(text)), "p", 100.0, Report, examined, own, device
    )
    assert tuple(told.line for told in heard if told.line) == report.lines
    begun = [told.doing or told.line.name for told in heard]
    assert begun[:4] == ["reference", "reference", "values", "values"]  # looked at, and known


@pytest.mark.parametrize(
    ("forward", "given", "names", "counted"),
    [
        ("return torch.relu(x)", "torch.randn(rows, cols)", "x",
         "moves at least 1.05 MB (reads x 524 kB, and writes output 524 kB, each once), so "),
        ("return table[index]", "torch.randn(1024, cols), torch.randint(0, 1024, (rows,))", "table, index",
         "writes output 524 kB, each once), so "),
        ("return x @ y", "torch.randn(rows, cols), torch.randn(cols, rows)", "x, y",
         "each once) and computes 0.134 GFLOP of products, so "),
    ],
)  # fmt: skip
def test_the_floor_says_whose_it_is_and_what_it_counts(tmp_path, monkeypatch, forward, given, names, counted):
    _, lines = checked(problem(forward, given=given, names=names), tmp_path, monkeypatch)
    assert lines["cost"][1].startswith("timed workload given: a right kernel moves at least ")
    assert counted in lines["cost"][1]


def test_a_problem_that_cannot_be_read_is_status_1_and_no_problem_at_all_status_2(tmp_path, capsys):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "problem.py").write_text("def get_inputs(): ...")
    assert cli.main(["check", str(folder)]) == 1
    assert "fails  files      broken/problem.py defines no Model" in capsys.readouterr().out
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder: name a problem or its folder" in capsys.readouterr().err


def test_small_workloads_whose_outputs_do_not_fit_into_a_verdict_without_a_gpu_are_told(tmp_path, monkeypatch):
    large = (Workload(name="tiles", constants={"rows": 4096, "cols": 2048}), SMALL[1])
    report, lines = checked(problem("return torch.relu(x)", small=large), tmp_path, monkeypatch)
    assert report.judgeable
    state, text = lines["small"]
    assert state == "note"
    assert text.startswith("small workload tiles is too large to be judged without a GPU: the outputs of one kernel's ")
    assert text.endswith("choose smaller sizes in problem.yaml")


LARGE = Workload(name="a", constants={"rows": 2048, "cols": 2048})


@pytest.mark.parametrize(
    ("own", "fits"),
    [
        (problem("return torch.relu(x)"), True),
        (problem("return torch.relu(x), x + 1", small=(LARGE,)), False),
        (problem("return x.sum(0)", small=(LARGE,)), True),
    ],
)  # fmt: skip
def test_a_verdict_without_a_gpu_holds_so_many_bytes_of_outputs(own, fits):
    with nullcontext() if fits else pytest.raises(ProblemError, match="small workload a is too large"):
        check_size(own)
