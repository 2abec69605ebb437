"""Outputs of timed calls on their way to the referee, with a clock and inputs that need no GPU."""

import random
from types import SimpleNamespace

import pytest
import torch

from kopt.device.cuda.timer import timer as module
from kopt.device.cuda.timer.timer import Timer


class Inputs:
    """A set of inputs that notes what is handed over."""

    def __init__(self, handed):
        self.handed = handed

    def own(self, tensors):
        return tensors

    def hand_over(self, tensors):
        self.handed += tensors
        return True

    def restore(self):
        pass


@pytest.fixture
def handed():
    return []


@pytest.fixture
def timer(monkeypatch, handed):
    """A timer whose calls give their number, as a fresh one is that has just loaded its subjects."""
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(module, "Clock", lambda: None)
    monkeypatch.setattr(module, "give_back_spare", lambda: None)
    made = Timer(None, None)
    calls = []
    made._clock = SimpleNamespace(timed=lambda *_: (1.0, [calls.append(1) or torch.tensor(len(calls))]))
    made._sets = {"main": [Inputs(handed), Inputs(handed)]}
    made._timed_sets = {"main": 2}
    made._subjects = {("one", "main"): None, ("two", "main"): None}
    made._random = random.Random(0)
    return made


def test_the_output_of_a_timed_call_is_handed_over_once(timer, handed):
    timer.race("main", ["one"], 1, 0)
    assert timer.hand_over_kept("one", "main") == 0
    assert handed == [1]


def test_a_timer_that_has_replaced_one_that_broke_makes_a_call_more(timer, handed):
    assert timer.hand_over_kept("two", "main") in (0, 1)
    assert handed == [1]


def test_an_output_for_which_there_is_no_memory_is_that_of_a_call_more(timer, handed, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 8)
    timer.race("main", ["one", "two"], 1, 0)
    for name in ("one", "two"):
        timer.hand_over_kept(name, "main")
    assert handed == [1, 3]
