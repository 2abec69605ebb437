"""Sheets name their tensors, and the argument that may not change."""

import pytest
import torch

from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.cuda.sharing.sheets import ArgumentName, Sheet, forbidden_argument
from kopt.device.reference.tree import with_tensors_replaced
from kopt.model.problem import Workload

SHARED = Shared(b"", 4, (1,), (1,), "float32")


@pytest.mark.parametrize(("changed", "name"), [((), ""), ((0,), ""), ((0, 1), "B"), ((7,), "?"), ((-1,), "?")])
def test_the_first_argument_that_may_not_change_is_named(changed, name):
    sheet = Sheet(Workload(name="main"), (), {"A": SHARED, "B": SHARED}, changed=("A",))
    assert forbidden_argument(sheet, changed) == name


def test_torchs_counter_of_calls_may_change():
    names = ("buffer norm.num_batches_tracked", "buffer norm.running_mean")
    sheet = Sheet(Workload(name="main"), (), dict.fromkeys(names, SHARED))
    assert forbidden_argument(sheet, [0]) == ""
    assert forbidden_argument(sheet, [0, 1]) == "buffer norm.running_mean"


def test_nested_inputs_get_the_tensors_of_their_names():
    tensors = {"input x[0]": torch.zeros(1), "input y['k']": torch.ones(1), "input z": torch.ones(2)}
    values = {
        "x": [tensors["input x[0]"], None],
        "y": {"k": tensors["input y['k']"]},
        "z": tensors["input z"],
        "n": "z",
    }
    inputs = tuple(
        with_tensors_replaced(value, f"input {name}", lambda name, _: ArgumentName(name))
        for name, value in values.items()
    )
    again = Sheet(Workload(name="main"), inputs, dict.fromkeys(tensors, SHARED)).with_tensors(tensors)
    assert again == tuple(values.values())
