"""What replies of language models come to in the stages; the models are scripted, the store is real."""

from __future__ import annotations

import pytest
from prompt_values import DEVICE, FACTS, PROBLEM, SOURCE

from kopt.config import Config
from kopt.errors import NoReply
from kopt.jobs.asker import Asker, unanswered_lines
from kopt.jobs.briefing import Briefing
from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.jobs.keys import BuildKey
from kopt.llm.ask import replies_of
from kopt.llm.reply import Answered, Empty, NoReplyReason, Refused, Truncated, Unanswered, Usage
from kopt.llm.request import Message, key_of
from kopt.llm.table import Model, ModelTable, Price
from kopt.model.build import Build, Built
from kopt.model.device import Toolchain
from kopt.model.diagnosis import Diagnosis, Direction
from kopt.model.kernel import Kernel, ProposalStatus, Slot
from kopt.model.proposers import REWRITER
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, SelectionRow
from kopt.prompts.context import Memory, Parent, ParentTimes, PromptContext, Share
from kopt.prompts.sections import Prompt
from kopt.run_settings import RunSettings
from kopt.stages import generate as generating
from kopt.stages.classify import classify_pool
from kopt.stages.classify_by_model import ModelClassifier
from kopt.stages.diagnose_by_model import diagnose_by_model
from kopt.stages.generate_by_model import model_proposals
from kopt.store import Store

USAGE = Usage(input=10, output=5, dollars=0.25)
PRICE = Price(input=1.0, cached_input=0.1, cache_write=1.0, output=5.0)
TABLE = ModelTable(models={"m": Model(provider="openai", api_model="m", base_url="http://127.0.0.1:1", price=PRICE)})
CHANGED = SOURCE.replace("BLOCK=1024", "BLOCK=512")
GOOD = Answered(text=f"Half the block size for more programs.\n\n```python\n{CHANGED}```\n", usage=USAGE, stop="end")
REFUSED = Refused(text="I will not write that.", usage=USAGE, stop="refusal")
DIRECTIONS = [
    Direction(rank=1, bottleneck="narrow_loads", cause="4 bytes", direction="widen loads"),
    Direction(rank=2, bottleneck="low_occupancy", cause="12 %", direction="smaller tiles"),
]
TIMES = ParentTimes(ms=1.0, estimated=True, floor_ms=0.5, roofline_share=0.5)


def asking(**settings):
    """How replies come to a run that asks a language model."""
    return RunSettings(Config(models=("m",), **settings)).asking


class Scripted(Asker):
    """Gives its replies in turn and keeps them as a live round would."""

    def __init__(self, store, *replies):
        super().__init__(asking(), TABLE, store, store.root.parent / "run")
        self.script, self.requests = list(replies), {}

    def ask(self, asked):
        found = {}
        for label, request in asked.items():
            self.requests[label] = request
            found[label] = self.script.pop(0)
            if not isinstance(found[label], Unanswered):
                replies_of(self.store).put(key_of(request), found[label])
        return found


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def parent(store):
    return put_kernel(SOURCE, store)


def briefing_of(techniques=(), pool=()):
    context = PromptContext(problem=PROBLEM, facts=FACTS, device=DEVICE, triton="3.6.0", techniques=techniques)
    parents = (Parent(kernel=Kernel(source=SOURCE), times=TIMES),)
    return Briefing(round=1, context=context, parents=parents, memory=Memory(pool=pool), over=False)


def slots_of(parent, *models):
    return [
        Slot(slot=n, parent=parent, parent_rank=0, bottleneck=1, model=model, sample=n)
        for n, model in enumerate(models)
    ]


def attempt_of(asker, parent, attempt=0, earlier=(), models=("m",), pool=()):
    """The candidates of one attempt of round 2 and what it leaves to repair."""
    slots = slots_of(parent, *models)
    row = SelectionRow(
        rank=0, kernel=parent, fingerprint="", origin="r0a0s0", model="seed", time_ms=1.0, estimated=True,
        roofline_share=0.5, techniques=(), cluster="none",
    )  # fmt: skip
    context = generating.AttemptContext(
        round=2, attempt=attempt, seed=0, parents={parent: row},
        directions={(parent, d.rank): d for d in DIRECTIONS}, facts=FACTS, device=DEVICE, store=asker.store,
    )  # fmt: skip
    models = model_proposals(slots, context, earlier, repairs=3, briefing=briefing_of(pool=pool), asker=asker)
    found = generating.generate(slots, context, earlier=earlier, failed=models.failed, ask_models=models.ask)
    return found, generating.unusable_slots([*earlier, *found], 2, attempt)


def test_a_reply_with_a_kernel_becomes_a_candidate_with_its_request_and_cost(store, parent):
    asker = Scripted(store, GOOD)
    ((candidate,), left) = attempt_of(asker, parent)
    assert kernel_source(candidate.kernel, store) == CHANGED
    assert candidate.request == asker.requests["r2a0s0"].digest
    assert (candidate.cost_usd, candidate.description) == (0.25, "Half the block size for more programs.")
    assert left == ""


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (REFUSED, "refused: I will not write that."),
        (Empty(usage=USAGE, stop="end"), "empty: the reply was empty (end)"),
        (
            Answered(text="Use wider loads.", usage=USAGE, stop="end"),
            "no_code: the reply holds no code: Use wider loads.",
        ),
    ],
)
def test_a_reply_without_a_kernel_is_repaired_once(store, parent, reply, reason):
    (first,), left = attempt_of(Scripted(store, reply), parent)
    assert (first.status, first.reason, left) == (ProposalStatus.NONE, reason, "0\n")
    (second,), left = attempt_of(Scripted(store, reply), parent, attempt=1, earlier=[first])
    assert (second.status, left) == (ProposalStatus.NONE, "")


def test_a_repair_shows_the_draft_and_the_reason(store, parent):
    broken = Answered(text="```python\nimport triton\ndef kernel_function(x:\n```", usage=USAGE, stop="end")
    (first,), _ = attempt_of(Scripted(store, broken), parent)
    asker = Scripted(store, GOOD)
    (second,), _ = attempt_of(asker, parent, attempt=1, earlier=[first])
    asked = asker.requests["r2a1s0"].messages[0].whole
    assert "def kernel_function(x:" in asked
    assert "syntax" in asked
    assert second.status == ProposalStatus.PROPOSED


def test_a_reply_that_was_cut_off_in_its_code_is_continued(store, parent):
    head, tail = GOOD.text[:400], GOOD.text[400:]
    replies = (Truncated(text=head, usage=USAGE, stop="length"), Answered(text=tail, usage=USAGE, stop="end"))
    (candidate,), left = attempt_of(Scripted(store, *replies), parent)
    assert kernel_source(candidate.kernel, store) == CHANGED
    assert (candidate.cost_usd, left) == (0.5, "")


@pytest.mark.parametrize("rest", [REFUSED, Empty(usage=USAGE, stop="end")])
def test_a_continuation_that_brings_nothing_was_paid_too(store, parent, rest):
    cut = Truncated(text=GOOD.text[:400], usage=USAGE, stop="length")
    (candidate,), left = attempt_of(Scripted(store, cut, rest), parent)
    assert (candidate.status, candidate.cost_usd, left) == (ProposalStatus.NONE, 0.5, "0\n")


def test_a_fault_costs_its_own_slot_only(store, parent):
    fault = Unanswered(reason=NoReplyReason.SERVER, detail="HTTP 500", tries=6)
    found, left = attempt_of(Scripted(store, fault, GOOD), parent, models=("m", "m"))
    assert [(c.status, c.reason, c.request != "") for c in found] == [
        (ProposalStatus.NONE, "server: HTTP 500", False),
        (ProposalStatus.PROPOSED, "", True),
    ]
    assert left == ""


def test_a_spent_budget_skips_the_slot_and_ends_the_search(store, parent):
    spent = Unanswered(reason=NoReplyReason.BUDGET, detail="the next call could pass the budget")
    found, _ = attempt_of(Scripted(store, spent), parent)
    assert [c.status for c in found] == [ProposalStatus.SKIPPED]


def test_the_rewriters_slots_do_not_depend_on_what_models_reply(store, parent):
    answers = [attempt_of(Scripted(store, reply), parent, models=("m", REWRITER))[0][1] for reply in (GOOD, REFUSED)]
    assert answers[0] == answers[1]
    assert answers[0].status == ProposalStatus.PROPOSED


def test_a_reply_that_is_not_recorded_ends_the_run_by_name(store):
    asker = Asker(asking(replies="replay"), TABLE, store, store.root.parent / "run")
    request = asker.request("m", Prompt(template="t/1", system="", stable="", text="hello"))
    with pytest.raises(NoReply, match=f"it: no recorded reply to request {request.digest}"):
        asker.ask({"it": request})


def test_nothing_asked_needs_nobody(store):
    assert Asker(asking(replies="replay"), TABLE, store, store.root.parent / "run").ask({}) == {}


def rules_for(kernel):
    return Diagnosis(kernel=kernel, source="rules", directions=tuple(DIRECTIONS))


def answered(text):
    return Answered(text=text, usage=USAGE, stop="end")


def test_a_diagnosis_is_the_models_filled_up_by_rules(store, parent):
    told = '{"directions": [{"bottleneck": "bank_conflicts", "direction": "swizzle the tile", "techniques": []}]}'
    asker = Scripted(store, answered(told))
    (found,) = diagnose_by_model([rules_for(parent)], briefing_of(), asker, model="m", count=2)
    assert (found.source, found.kernel) == ("m", parent)
    assert [(d.rank, d.bottleneck) for d in found.directions] == [(1, "bank_conflicts"), (2, "narrow_loads")]


def test_rules_diagnose_where_the_reply_cannot_be_used(store, parent):
    (found,) = diagnose_by_model([rules_for(parent)], briefing_of(), Scripted(store, REFUSED), model="m", count=2)
    assert found.directions == tuple(DIRECTIONS)
    assert found.source == "rules, since the reply of m cannot be used: I will not write that."


def test_no_model_is_asked_once_the_search_is_over(store, parent):
    over = briefing_of().model_copy(update={"over": True})
    assert diagnose_by_model([rules_for(parent)], over, Scripted(store), model="m", count=2) == [rules_for(parent)]


TAXONOMY = tuple(
    Technique(name=name, description=name, llm_hint=name) for name in ("tensor_cores", "epilogue_fusion", "my_own")
)


@pytest.fixture
def row(store, parent):
    tools = Toolchain(torch="2", triton="3", arch=90)
    key = BuildKey(kernel=parent, entry="kernel_function", problem="p", device="d", toolchain=tools, screen="s")
    store.shelf(Build).put(key, Built(fingerprint="f", workloads=()))
    return RankRow(
        position=0, kernel=parent, fingerprint="f", origin="r0a0s0", model="seed", time_ms=1.0, estimated=True,
        roofline_share=0.5, build=key.digest(),
    )  # fmt: skip


def classifier_of(asker, facts):
    def vectors(rows):
        vector = TechniqueVector(taxonomy="t", techniques=facts, classifier="static")
        return {row.kernel: vector for row in rows}

    return ModelClassifier(
        model="m", asker=asker, taxonomy=TAXONOMY, device=DEVICE, round=0, facts=None if facts is None else vectors
    )


def test_facts_decide_what_they_prove_and_the_model_the_rest(store, row):
    reply = answered('{"epilogue_fusion": {"present": false, "where": ""}, "my_own": {"present": true, "where": "x"}}')
    asker = Scripted(store, reply)
    chosen = classifier_of(asker, ("tensor_cores", "epilogue_fusion"))
    (found,) = rows = classify_pool([row], [], classify=chosen.vectors)
    assert found.techniques == ("tensor_cores", "my_own")
    assert "- tensor_cores: used" in asker.requests["r0c0"].messages[0].whole
    counts = chosen.agreement(rows, [row]).techniques
    assert {name: tuple(c.model_dump().values()) for name, c in counts.items()} == {
        "epilogue_fusion": (0, 1, 0),
        "my_own": (0, 0, 1),
    }


def test_a_kernel_whose_classification_cannot_be_used_is_its_own_cluster(store, row):
    (found,) = classify_pool([row], [], classify=classifier_of(Scripted(store, REFUSED), None).vectors)
    assert (found.classified, found.cluster) == (False, row.kernel)


def test_every_second_sample_is_asked_to_avoid_what_most_of_the_pool_uses(store, parent):
    pool = (Share(techniques=("split_k_reduce",), kernels=3, best_ms=1.0), Share(techniques=(), kernels=1, best_ms=2.0))
    asker = Scripted(store, GOOD, GOOD)
    attempt_of(asker, parent, pool=pool, models=("m", "m"))
    asked = [asker.requests[label].messages[0].whole for label in ("r2a0s0", "r2a0s1")]
    wanted = "enough kernels built on split_k_reduce: reach your speed by other means"
    assert [wanted in text for text in asked] == [False, True]


def test_a_model_that_gives_no_replies_is_told_of_and_a_spent_budget_is_not():
    replies = {
        "a": Unanswered(reason=NoReplyReason.SERVER, detail="HTTP 404"),
        "b": Unanswered(reason=NoReplyReason.SERVER, detail="HTTP 404"),
        "c": Unanswered(reason=NoReplyReason.BUDGET, detail="over"),
    }
    asked = {
        label: TABLE.request("m", system="", messages=(Message(role="user", text=label),), template="t")
        for label in replies
    }
    assert unanswered_lines(asked, replies) == ["m gave no reply to 2 of 3 requests (server: HTTP 404)"]
    assert unanswered_lines(asked, dict.fromkeys(asked, replies["c"])) == []
