from kopt.model.trial import RankRow, TechniqueRow
from kopt.search.select import select
from kopt.search.strategies.beam import STRATEGY
from kopt.search.strategy import Archive

ROW = RankRow(
    position=0, kernel="k0", fingerprint="f0", origin="r1a0s0", model="m", time_ms=1.0, low_ms=0.9, high_ms=1.1,
    estimated=True, roofline_share=0.5, build="b", evaluation="e",
)  # fmt: skip
SLOWER = ROW.model_copy(update={"kernel": "k1", "fingerprint": "f1", "origin": "r1a0s1", "time_ms": 2.0})
TECHNIQUES = TechniqueRow(
    kernel="k1", fingerprint="f1", techniques=("tensor_cores",), classified=True, cluster="tensor_cores", new=True
)


def test_parents_are_ranked_in_the_order_of_the_choice():
    parents, _ = select([SLOWER, ROW], [], STRATEGY, Archive(), width=2)
    assert [(parent.rank, parent.kernel) for parent in parents] == [(0, "k0"), (1, "k1")]


def test_a_parent_keeps_its_time_and_what_it_was_built_and_judged_as():
    (parent,), _ = select([ROW], [], STRATEGY, Archive(), width=1)
    shared = ROW.model_dump(exclude={"position"})
    assert parent.model_dump(include=set(shared)) == shared


def test_a_parent_has_its_techniques():
    _, parent = select([ROW, SLOWER], [TECHNIQUES], STRATEGY, Archive(), width=2)[0]
    assert (parent.techniques, parent.cluster) == (("tensor_cores",), "tensor_cores")


def test_a_kernel_that_is_not_classified_is_its_own_cluster():
    parent, _ = select([ROW, SLOWER], [TECHNIQUES], STRATEGY, Archive(), width=2)[0]
    assert (parent.techniques, parent.cluster) == ((), "k0")
