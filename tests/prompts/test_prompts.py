"""What each prompt says, word for word, and what gives way when it would be too long.

After a change of words, raise the template's version, run `python tests/prompts/test_prompts.py` to write the golden
files anew, and read the difference.
"""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_values import (
    ASSIGNMENT,
    BUILT,
    CONTEXT,
    COUNTERS,
    DEVICE,
    FAILED,
    MEMORY,
    PARENT,
    SOURCE,
    TAXONOMY,
    TIMES,
)

from kopt.model.problem import Layout
from kopt.prompts.classify import classify, evidence
from kopt.prompts.context import Assignment, Event, Memory, WorkloadTimes
from kopt.prompts.diagnose import Answer, diagnose, directions
from kopt.prompts.facts import contract
from kopt.prompts.guidance import triton_guidance
from kopt.prompts.propose import TOTAL_TOKENS, propose
from kopt.prompts.reflect import Answer as Lessons
from kopt.prompts.reflect import reflect, reflection
from kopt.prompts.repair import repair
from kopt.prompts.sections import Prompt, Section, assemble, code, estimate_tokens, fit
from kopt.prompts.shared_sections import run_sections
from kopt.prompts.write_seed import FailedSeed, write_seed

GOLDEN = Path(__file__).resolve().parent / "golden"

BARE = PARENT.model_copy(update={"build": None, "profile": None, "techniques": ()})
ALONE = Assignment(direction=ASSIGNMENT.direction)

PROMPTS = {
    "propose": lambda: propose(CONTEXT, PARENT, MEMORY, ASSIGNMENT),
    "propose_bare": lambda: propose(CONTEXT, BARE, Memory(), ALONE),
    "repair": lambda: repair(CONTEXT, PARENT, ASSIGNMENT, FAILED, 1, 3),
    "diagnose": lambda: diagnose(CONTEXT, PARENT, MEMORY, 2),
    "classify": lambda: classify(SOURCE, TAXONOMY[1:], decided={"split_k_reduce": False}, build=BUILT, device=DEVICE),
    "write_seed": lambda: write_seed(
        CONTEXT, FailedSeed(phase="compile", reason="no such name: tl.lode", draft="x = 1")
    ),
    "reflect": lambda: reflect(CONTEXT, 2, MEMORY.events, TIMES, MEMORY),
}


def page(prompt: Prompt) -> str:
    schema = f"\n<!-- schema {prompt.schema_name}: {prompt.output_schema} -->\n" if prompt.output_schema else ""
    return (
        f"<!-- {prompt.template}, about {prompt.tokens} tokens -->\n{schema}\n<!-- system -->\n\n{prompt.system}\n\n"
        f"<!-- user, shared by siblings -->\n\n{prompt.stable}\n<!-- user, this request -->\n\n{prompt.text}\n"
    )


@pytest.mark.parametrize("name", PROMPTS)
def test_each_prompt_is_the_golden_one_word_for_word(name):
    assert page(PROMPTS[name]()) == (GOLDEN / f"{name}.md").read_text()


@pytest.mark.parametrize(
    ("phase", "told"),
    [("unchanged", "gave back a kernel that it had been shown, unchanged"), ("nothing", "held no code")],
)
def test_a_repair_says_what_a_reply_without_a_source_of_its_own_held(phase, told):
    failed = FAILED.model_copy(update={"stage": "reply", "phase": phase, "draft": ""})
    prompt = repair(CONTEXT, PARENT, ASSIGNMENT, failed, 1, 3)
    assert told in prompt.text


def test_a_proposal_sees_all_that_is_known():
    prompt = PROMPTS["propose"]()
    whole = prompt.system + prompt.stable + prompt.text
    told = {
        "the reference": "torch.matmul(A, B)",
        "the signature": "kernel_function(A, B)",
        "parameters": "bias (2048,) bfloat16",
        "shapes": "A (2048, 8192) bfloat16",
        "the parent": "def matvec_kernel",
        "its time": "0.0312 ms",
        "the eager time": "PyTorch eager: 0.0224 ms",
        "the compiled time": "torch.compile: 0.0221 ms",
        "the roofline": "roofline floor: 0.0107 ms",
        "its direction": "BLOCK of 4096 with 8 warps",
        "a labelled counter": "DRAM throughput, % of peak: 41.2",
        "registers": "40 registers a thread",
        "spills": "0 bytes spilled",
        "shared memory": "64 bytes shared",
        "occupancy": "occupancy 75%",
        "the device": "132 SMs",
        "measured rates": "measured on this very GPU",
        "history": "Doubled the block",
        "a failure's reason": "spills",
        "reflections": "16 warps spill.",
        "the pool's techniques": "vectorized_load: 3 kernels",
        "what to leave to others": "Split K over four programs.",
        "what to avoid": "reach your speed by other means",
        "guidance for this Triton": "make_tensor_descriptor",
    }
    assert {what for what, words in told.items() if words not in whole} == set()


def test_the_contract_names_inputs_that_must_be_changed_and_strides_that_must_be_kept():
    changing = CONTEXT.problem.model_copy(update={"mutates": ("state", "count"), "layout": Layout.ANY})
    assert "It must change state, count as the reference does" in contract(changing, CONTEXT.facts)
    assert "strides" not in contract(changing, CONTEXT.facts)
    assert "strides" in contract(CONTEXT.problem, CONTEXT.facts)


def test_times_of_every_workload_stand_beside_their_mean_and_nowhere_else():
    times = TIMES.model_copy(
        update={
            "workloads": (
                WorkloadTimes(workload="tall", ms=0.05, eager_ms=0.04, compile_ms=0.03, floor_ms=0.02),
                WorkloadTimes(workload="wide", ms=0.0195, floor_ms=0.006),
            )
        }
    )
    profile = COUNTERS.model_copy(
        update={
            "metrics": {"time_ms": 0.051, "ncu_time_ms": 0.06, "gpu__time_duration.sum": 6e4, "ptx_tma_load": 0.0,
                        "ptx_cp_async": 4.0, "lts__t_sector_hit_rate.pct": 0.0},
            "workload": "tall", "times_ms": {"tall": 0.051, "wide": 0.02},
        }
    )  # fmt: skip
    told = propose(CONTEXT, PARENT.model_copy(update={"times": times, "profile": profile}), MEMORY, ASSIGNMENT).stable
    assert "0.0312 ms (95 % interval 0.0309 to 0.0316), measured, cold L2, geometric mean over the workloads" in told
    assert "workload tall: this kernel 0.05 ms; PyTorch eager 0.04 ms (0.8 x); torch.compile 0.03 ms (0.6 x)" in told
    assert "workload wide: this kernel 0.0195 ms; roofline floor 0.006 ms (0.308 x)" in told
    assert "memory-bound on workload tall, the furthest from its floor" in told
    assert not any(text in told for text in ("0.051", "0.06 ", "60000", "ptx_tma_load"))
    assert "ptx_cp_async: 4" in told
    assert "L2 hit rate, %: 0" in told


def test_guidance_for_hopper_warns_of_warp_specialisation_from_the_version_that_has_it():
    assert "warp_specialize" not in triton_guidance("3.2")
    assert "its results are wrong" in triton_guidance("3.6.0")


def test_no_prompt_shows_a_hidden_workload():
    for make in PROMPTS.values():
        assert "secret_shape" not in page(make())


def test_what_siblings_share_does_not_depend_on_the_slot():
    one, two = (propose(CONTEXT, PARENT, MEMORY, given) for given in (ASSIGNMENT, ALONE))
    assert (one.system, one.stable) == (two.system, two.stable)
    assert one.text != two.text


def test_a_patch_level_of_triton_asks_nothing_new():
    pages = {run_sections(CONTEXT.model_copy(update={"triton": version}))[3] for version in ("3.7.1", "3.7.2+git1")}
    assert len(pages) == 1
    assert "3.7" in pages.pop().name


def test_guidance_speaks_of_nothing_newer_than_the_installed_triton():
    assert "make_tensor_descriptor" not in triton_guidance("3.1.0")
    assert "make_tensor_descriptor" in triton_guidance("3.7.1+git")
    assert triton_guidance("unknown")


class TestBudgets:
    def test_sections_leave_in_the_stated_order(self):
        long = Memory(events=tuple(MEMORY.events[0].model_copy(update={"name": f"r{n}"}) for n in range(400)))
        huge = PARENT.model_copy(update={"kernel": PARENT.kernel.model_copy(update={"source": SOURCE * 200})})
        context = CONTEXT.model_copy(
            update={"problem": CONTEXT.problem.model_copy(update={"reference": "# line of reference\n" * 5000})}
        )
        prompt = propose(context, huge, long, ASSIGNMENT)
        assert prompt.tokens <= TOTAL_TOKENS
        assert {"Reference program", "Kernel to improve", "Recent tries"} <= set(prompt.shortened)
        for kept in ("## Contract", "## Your direction", "## Kernel to improve", "## Its time", "## Answer"):
            assert kept in prompt.system + prompt.stable + prompt.text

    def test_the_first_to_leave_is_the_lowest(self):
        sections = [
            Section(name=f"s{n}", text="x" * 400, budget=1000, place="own", cut=cut)
            for n, cut in enumerate((0, 3, 1, 2))
        ]
        gone = [assemble("t/1", "", sections, total).shortened for total in (500, 320, 220, 120, 1)]
        assert gone == [(), ("s2",), ("s2", "s3"), ("s1", "s2", "s3"), ("s1", "s2", "s3")]

    @given(st.text(alphabet="ab \n", max_size=600), st.integers(4, 80), st.booleans())
    def test_a_section_never_passes_its_budget_by_more_than_its_mark(self, text, budget, middle):
        cut = fit(Section(name="s", text=text, budget=budget, place="own", middle=middle))
        assert estimate_tokens(cut) <= budget + 12
        if len(text.strip("\n")) <= budget * 4:
            assert cut == text.strip("\n")

    def test_code_cut_in_the_middle_keeps_its_end(self):
        text = "\n".join(f"line {n}" for n in range(200))
        cut = fit(Section(name="s", text=text, budget=60, place="own", middle=True))
        assert cut.startswith("line 0\n")
        assert cut.endswith("line 199")

    def test_a_fence_is_longer_than_any_inside(self):
        assert code("a\n```\nb").startswith("````python\n")


class TestDiagnosis:
    def test_directions_are_ranked_different_and_at_most_as_many_as_asked(self):
        given = {
            "directions": [
                {"bottleneck": "loads", "direction": "Widen.", "techniques": ["vectorized_load", "magic"]},
                {"bottleneck": "Loads", "direction": "Widen them more.", "techniques": ["vectorized_load"]},
                {"bottleneck": "latency", "direction": "widen", "techniques": []},
                {"bottleneck": "latency", "cause": "c", "direction": "Split K.", "techniques": ["split_k_reduce"]},
                {"bottleneck": "tail", "direction": "Persistent.", "techniques": []},
            ]
        }
        found = directions(Answer.model_validate(given), 2, tuple(t.name for t in TAXONOMY))
        assert [(d.rank, d.bottleneck, d.techniques) for d in found] == [
            (1, "loads", ("vectorized_load",)),
            (2, "latency", ("split_k_reduce",)),
        ]

    def test_the_schema_accepts_what_the_prompt_asks_for(self):
        schema = PROMPTS["diagnose"]().output_schema
        one = {"bottleneck": "b", "cause": "c", "direction": "d", "techniques": ["loop_unrolling"]}
        jsonschema.validate({"directions": [one]}, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"directions": [one | {"techniques": ["magic"]}]}, schema)


class TestClassification:
    def test_evidence_names_the_line_that_the_model_quotes(self):
        answer = {
            "vectorized_load": {"present": True, "where": "mask = offsets < K"},
            "loop_unrolling": {"present": True, "where": "somewhere"},
            "split_k_reduce": {"present": False, "where": "mask"},
        }
        flags = {name: entry["present"] for name, entry in answer.items()}
        found = evidence(answer, flags, SOURCE)
        line = next(n for n, text in enumerate(SOURCE.splitlines(), 1) if "mask =" in text)
        assert [(e.technique, e.where) for e in found] == [
            ("vectorized_load", f"source:{line}"),
            ("loop_unrolling", "model"),
        ]

    def test_every_technique_that_is_asked_for_must_be_answered(self):
        schema = PROMPTS["classify"]().output_schema
        assert schema["required"] == ["vectorized_load", "loop_unrolling"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"vectorized_load": {"present": True, "where": ""}}, schema)


def test_a_reflection_is_short():
    answer = Lessons(worked=("a\n b", " ", *("x" * 900 for _ in range(9))), advice=("do",))
    lesson = reflection(answer, 4)
    assert lesson.round == 4
    assert lesson.worked[0] == "a b"
    assert len(lesson.worked) <= 5
    assert all(len(item) <= 400 for item in lesson.worked)


def test_events_without_a_time_say_their_outcome():
    prompt = reflect(
        CONTEXT, 1, (Event(name="r1a0s0", model="m", description="", outcome="incorrect"),), TIMES, Memory()
    )
    assert "r1a0s0 (m): no description -> incorrect" in prompt.text


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, make in PROMPTS.items():
        (GOLDEN / f"{name}.md").write_text(page(make()))
