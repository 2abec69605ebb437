"""Which sizes an exported kernel will take is said before a search."""

import pytest

from kopt.device.facts.facts import problem_facts
from kopt.model.problem import Workload
from kopt.winner.size_rules import size_rules
from tests.device.small import SCALE

REFERENCE = """
import torch

batch = 8
length = 64
heads = 2

class Model(torch.nn.Module):
    def forward(self, x, table):
        return x * table

def get_inputs():
    return [torch.randn(batch, length, heads, 32), torch.randn(length, 1, 32)]

def get_init_inputs():
    return []
"""


def rules(*sizes, reference=REFERENCE, takes=lambda _: True):
    workloads = tuple(Workload(name=f"w{at}", constants=one) for at, one in enumerate(sizes))
    others = workloads[1:]
    update = {"reference": reference, "main": workloads[:1], "hidden": others, "small": others}
    problem = SCALE.model_copy(update=update)
    return size_rules(problem, problem_facts(problem).given, takes)


def test_sizes_that_vary_are_named_and_what_frees_the_others():
    text, free = rules({}, {"batch": 7, "length": 17})
    assert text.startswith("an exported kernel takes any x.shape[0], x.shape[1]; ")
    assert "this size alone: x.shape[2] = 2, x.shape[3] = 32, table.shape[2] = 32; " in text
    assert text.endswith(
        "to free a size, add a workload that has another one, e.g. `other: {heads: 1}` under hidden and under small in "
        "problem.yaml"
    )
    assert not free


def test_sizes_that_were_powers_of_two_are_told_apart():
    text, free = rules({}, {"batch": 4, "heads": 3, "length": 63})
    assert text.startswith("an exported kernel takes any x.shape[1], x.shape[2]; x.shape[0]: powers of two from 4 on; ")
    assert "e.g. `other: {batch: 7}` under hidden" in text
    assert not free


def test_sizes_that_were_multiples_are_told_apart():
    text, free = rules({"length": 8192}, {"batch": 7, "length": 5000}, {"batch": 6, "length": 4808})
    assert text.startswith("an exported kernel takes any x.shape[0]; x.shape[1]: multiples of 8; this size alone: ")
    assert "e.g. `other: {length: 8191}` under hidden" in text
    assert not free
    text, _ = rules({"length": 8192}, {"batch": 6, "length": 5000})
    assert text.startswith("an exported kernel takes x.shape[0]: multiples of 2; x.shape[1]: multiples of 8; this ")


def test_constants_of_one_statement_are_known_and_the_example_is_one_that_the_reference_takes():
    together = REFERENCE.replace("batch = 8\nlength = 64\nheads = 2", "batch, length, heads = 8, 64, 16")
    others = {"batch": 7, "length": 17}
    assert "`other: {heads: 15}` under" in rules({}, others, reference=together)[0]
    assert "`other: {heads: 12}` under" in rules({}, others, reference=together, takes=lambda s: s["heads"] < 15)[0]
    text, free = rules({}, others, reference=together, takes=lambda _: False)
    assert text.endswith("; PyTorch runs for others; the reference takes no others when heads alone changes")
    assert not free


def test_what_searches_with_and_without_a_gpu_have_in_common_is_said_once():
    hidden, small = ((Workload(name="w", constants={"batch": 7, "length": n}),) for n in (32, 17))
    update = {"reference": REFERENCE, "main": (Workload(name="m"),), "hidden": hidden, "small": small}
    problem = SCALE.model_copy(update=update)
    text, _ = size_rules(problem, problem_facts(problem).given)
    assert text.count("x.shape[2] = 2, x.shape[3] = 32") == 1
    assert "; of a search on a GPU, " in text
    assert "x.shape[1]: powers of two from 16 on" not in text.split("of one without, ")[1]


def test_a_size_without_a_name_gets_one_first():
    text, _ = rules({}, {"batch": 7, "heads": 3, "length": 63})
    assert "this size alone: x.shape[3] = 32, table.shape[2] = 32; " in text
    assert text.endswith(
        "to free a size, write it as a constant of problem.py that get_inputs reads, and add a workload that has "
        "another one in problem.yaml"
    )


@pytest.mark.parametrize("name", ["given", "none"])
def test_where_all_sizes_vary_nothing_is_to_be_freed_and_unknown_arguments_say_nothing(name):
    others = (Workload(name="s", constants={"rows": 5, "columns": 25}),)
    problem = SCALE.model_copy(update={"main": (Workload(name="m"),), "hidden": others, "small": others})
    given = problem_facts(problem).given if name == "given" else ()
    said = "an exported kernel takes any x.shape[0], x.shape[1]" if name == "given" else ""
    assert size_rules(problem, given) == (said, True)


def test_what_a_search_on_a_gpu_and_one_without_verify_is_told_apart():
    small = (Workload(name="s", constants={"rows": 5, "columns": 25}),)
    problem = SCALE.model_copy(update={"main": (Workload(name="m"),), "hidden": (), "small": small})
    text, free = size_rules(problem, problem_facts(problem).given)
    assert text.startswith("an exported kernel of a search on a GPU takes this size alone: x.shape[0] = ")
    assert "; of one without, any x.shape[0], x.shape[1]; PyTorch runs for others; " in text
    assert not free
