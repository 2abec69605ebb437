"""The corpus of exploits holds what it promises, and a sample of it ends as expected."""

import pytest
import torch

from kopt.commands.parts import corpus, corpus_layers
from kopt.commands.parts.corpus import Entry, Judgement, Result
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.build import BuildFailed, Built, Phase
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store
from tests.device.corpus_entries import BY_NAME, ENTRIES, EXPLOITS, HONEST, PATCHING, PROBLEMS, ROOT
from tests.device.small import SCALE

torch.set_num_threads(1)  # this process is forked

CLASSES = """
    recycled memory, searching for the answer, cached output, CUDA graph, no work, stale buffer, constant output,
    99 % of the work, cheap later, side stream, background thread, lazy tensor, patched clock, patched comparison,
    forged output, exit, guessed seed, mutated input, torch fallback, unused kernel, lower precision, hard-coded shape,
    wrong shape or dtype, NaN, files, pinned L2, out of bounds, illegal access, endless loop, fork bomb, memory hog,
    work at import, attack on the judge, native code
"""

SAMPLE = ("recycled_memory_scan", "cached_by_shape", "torch_when_watched", "hard_coded_shape", "work_at_import")
WITHOUT_GPU = ("nothing_when_large", "torch_in_grid", "torch_in_kernel", "torch_in_crumbs", "python_by_tolist",
               "sum_without_atomics", "counts_on_order")  # fmt: skip
"""What a judge that runs nothing at full size, and one program after the other, has to look for."""
HONEST_SAMPLE = ("last_arriver", "maxpool_rows", "persistent_plain_range", "gather_rows", "accumulate_in_place")
"""A few of the corpus; `kopt exploits` runs all of it."""


def entry(aim: corpus.Aim = "verdict", caught: tuple[str, ...] = (), work: str = "", name: str = "one") -> Entry:
    return Entry(name=name, category="c", aim=aim, caught=caught, work=work, problem=SCALE, kernel=SCALE.seed)


BUILT = Built(fingerprint="f", workloads=())
REFUSED = BuildFailed(phase=Phase.FALLBACK, reason="torch computes")
PASSED = Passed(judge="t", checks=())
WRONG = Incorrect(judge="t", reason="wrong")


def result(one: Entry, build=BUILT, verdict=PASSED) -> Result:
    return corpus.run([one], lambda _: {0: build}, lambda *_: {0: Judgement(verdict)})[0]


def test_every_class_of_exploit_is_in_the_corpus():
    wanted = {name.strip() for name in CLASSES.replace("\n", " ").split(",")}
    assert wanted <= {one.category for one in ENTRIES}


def test_thirty_honest_kernels_of_many_styles_are_in_the_corpus():
    assert len(HONEST) >= 30
    assert len({one.category for one in HONEST}) >= 15
    assert {one.problem.name for one in HONEST} >= {"matvec", "softmax", "layernorm", "rmsnorm", "maxpool3d", "gather"}


def test_places_where_exploits_are_caught_are_phases():
    known = {f"{who} {phase.value}" for who in ("build", "judge") for phase in Phase} | {"judge incorrect", "nothing"}
    assert {place for one in ENTRIES for place in one.caught} <= known


def test_exploits_of_time_name_an_honest_kernel_of_the_same_problem():
    for one in ENTRIES:
        if one.aim == "time":
            assert BY_NAME[one.work].aim == "honest"
            assert BY_NAME[one.work].problem == one.problem


@pytest.mark.parametrize("missing", ["class", "problem", "aim", "caught"])
def test_a_file_without_a_field_is_refused(tmp_path, missing):
    text = (EXPLOITS / "constant.py").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"{missing}:")]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    with pytest.raises(ProblemError, match=r"bad.py"):
        corpus.read(tmp_path, PROBLEMS)


def test_outcomes_tell_layers_apart():
    assert result(entry(), REFUSED).outcome == "caught"
    assert result(entry(), BUILT, WRONG).outcome == "caught"
    assert result(entry()).outcome == "slipped"
    assert result(entry("machine")).outcome == "slipped"
    assert result(entry("time")).outcome == "no clock"
    assert result(entry("honest")).outcome == "passed"
    assert result(entry("honest"), REFUSED).outcome == "false alarm"


@pytest.mark.parametrize(("share", "outcome"), [(0.5, "no gain"), (0.2, "slipped"), (0.45, "no gain")])
def test_a_time_is_measured_by_the_honest_kernel_that_does_the_same_work(share, outcome):
    entries = [entry("time", work="twin"), entry("honest", name="twin")]
    judged = {0: Judgement(PASSED, share), 1: Judgement(PASSED, 0.5)}
    results = corpus.run(entries, lambda _: {0: BUILT, 1: BUILT}, lambda *_: judged)
    assert results[0].outcome == outcome


def test_turned_away_elsewhere_than_expected_is_seen():
    launch = Failed(judge="t", phase=Phase.LAUNCH, reason="no")
    assert result(entry(caught=("judge launch",)), BUILT, launch).expected
    assert not result(entry(caught=("judge launch",)), BUILT, WRONG).expected
    assert not result(entry(caught=("judge incorrect",))).expected


def test_table_counts_by_class_and_names_what_slipped():
    text = corpus.table([result(entry(), REFUSED), result(entry(name="bad")), result(entry("honest"), BUILT, WRONG)])
    row = next(line for line in text.splitlines() if line.startswith("c "))
    assert row.split()[1:] == ["2", "1", "1", "0", "0", "0", "1"]
    assert "bad: slipped" in text
    assert "1 of 2 exploits got what they are after\n1 honest kernels, 1 false alarms" in text


def test_what_a_clock_would_have_to_settle_is_not_counted_as_settled():
    text = corpus.table([result(entry(), REFUSED), result(entry("time"))])
    assert "0 of 1 exploits got what they are after; for 1 a clock is needed" in text


@pytest.mark.xdist_group("corpus")
def test_a_sample_goes_as_expected_through_build_and_interpreter(tmp_path):
    entries = [BY_NAME[name] for name in (*SAMPLE, *WITHOUT_GPU, *PATCHING, *HONEST_SAMPLE)]
    h100 = load_device("h100", ROOT)

    def judge(some, builds):
        judged = run_with_environment(NO_GPU, 400.0, corpus_layers.judge_by_interpreter, some, 2, 90.0, 0)
        return run_in_fresh_process(400.0, corpus_layers.judge_by_work, some, builds, judged, h100, tmp_path)

    def build(some):
        return run_with_environment(NO_GPU, 400.0, corpus_layers.build_by_cpu, some, h100, tmp_path, 2, 60.0)

    results = corpus.run(entries, build, judge)
    outcomes = {one.name: (one.outcome, one.expected) for one in results}
    caught = dict.fromkeys((*SAMPLE, *WITHOUT_GPU, *PATCHING), ("caught", True))
    assert outcomes == caught | dict.fromkeys(HONEST_SAMPLE, ("passed", True))
    by_judge = {one.name: one.judge for one in results if one.name in PATCHING}
    assert by_judge == dict.fromkeys(PATCHING, "incorrect")  # the patches are no error there, and change no verdict


@pytest.mark.gpu
def test_a_sample_goes_as_expected_through_the_judge_on_a_gpu(tmp_path):
    from kopt.device.hardware.peaks import known_device

    entries = [BY_NAME[name] for name in (*SAMPLE, "patched_event", "row_per_program")]
    gpu = run_in_fresh_process(120.0, known_device, Store(tmp_path))
    judged = run_in_fresh_process(500.0, corpus_layers.judge_by_cuda, entries, 4, 30.0, 0, gpu)
    results = corpus.run(entries, lambda some: dict.fromkeys(range(len(some)), BUILT), lambda *_: judged)
    assert {one.name: one.outcome for one in results} == dict.fromkeys(SAMPLE, "caught") | {
        "patched_event": "no gain",
        "row_per_program": "passed",
    }
