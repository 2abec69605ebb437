"""Trace where kernels come from: the best kernel's chain of parents, and the family of all selected kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kopt.model.trial import SelectionRow, Trial

NODE_WIDTH, NODE_HEIGHT = 168, 42
COLUMN, ROW = 214, 54
TOP, LEFT = 34, 8


class Step(NamedTuple):
    """One step from the seed to the best kernel."""

    trial: Trial
    parent: Trial | None
    added: tuple[str, ...]
    """Techniques that the parent did not use."""
    removed: tuple[str, ...]


class Node(NamedTuple):
    """A selected kernel in the lineage graph; `x` and `y` are its upper left corner."""

    trial: Trial
    x: int
    y: int
    on_chain: bool
    """Whether it is an ancestor of the best kernel, or the best kernel."""


class Edge(NamedTuple):
    """A line from a parent to its child."""

    parent: Node
    child: Node
    on_chain: bool


class Graph(NamedTuple):
    """The family of selected kernels, a column per round."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    columns: tuple[tuple[int, int], ...]
    """Round and x of every column."""
    width: int
    height: int


def chain(trials: Sequence[Trial], best_name: str) -> list[Step]:
    """List the best kernel and its ancestors, the seed first."""
    named, first = {trial.name: trial for trial in trials}, first_of_kernel(trials)
    ancestors: list[Trial] = []
    trial = named.get(best_name)
    while trial is not None and trial not in ancestors:
        ancestors.append(trial)
        trial = first.get(trial.parent)
    line = ancestors[::-1]
    return [_step(trial, parent) for parent, trial in zip([None, *line], line, strict=False)]


def first_of_kernel(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Find the first trial of each source, by kernel digest."""
    first: dict[str, Trial] = {}
    for trial in trials:
        if trial.kernel:
            first.setdefault(trial.kernel, trial)
    return first


def _step(trial: Trial, parent: Trial | None) -> Step:
    before = parent.techniques if parent else trial.techniques
    return Step(
        trial=trial,
        parent=parent,
        added=tuple(name for name in trial.techniques if name not in before),
        removed=tuple(name for name in before if name not in trial.techniques),
    )


def graph(trials: Sequence[Trial], selections: Sequence[Sequence[SelectionRow]], best: Sequence[Step]) -> Graph:
    """Place every kernel that was a parent in the column of the round that proposed it.

    Args:
        trials: all trials of the run.
        selections: the parents that each round selected, from round 0.
        best: the chain of the best kernel, which the graph emphasises.
    """
    named = {trial.name: trial for trial in trials}
    origins = dict.fromkeys(row.origin for rows in selections for row in rows)
    highlighted = {step.trial.name for step in best}
    shown = [named[name] for name in dict.fromkeys([*origins, *highlighted]) if name in named]
    nodes = _place(sorted(shown, key=lambda t: (t.round, t.attempt, t.slot)), highlighted)
    rounds = sorted({node.trial.round for node in nodes.values()})
    return Graph(
        nodes=tuple(nodes.values()),
        edges=_edges(nodes),
        columns=tuple((round, LEFT + COLUMN * place) for place, round in enumerate(rounds)),
        width=LEFT + COLUMN * max(len(rounds), 1) - (COLUMN - NODE_WIDTH) + LEFT,
        height=max((node.y for node in nodes.values()), default=TOP) + NODE_HEIGHT + 10,
    )


def _place(shown: Sequence[Trial], highlighted: set[str]) -> dict[str, Node]:
    """Place nodes, by kernel digest; in a column children stand in the order of their parents, then of their times."""
    columns = {round: place for place, round in enumerate(sorted({trial.round for trial in shown}))}
    nodes: dict[str, Node] = {}
    for round, place in columns.items():
        born = [trial for trial in shown if trial.round == round]
        for row, trial in enumerate(sorted(born, key=lambda t: (_height(t, nodes), t.time_ms or 0.0, t.slot))):
            nodes[trial.kernel] = Node(trial, LEFT + COLUMN * place, TOP + ROW * row, trial.name in highlighted)
    return nodes


def _height(trial: Trial, nodes: Mapping[str, Node]) -> int:
    return nodes[trial.parent].y if trial.parent in nodes else 0


def _edges(nodes: Mapping[str, Node]) -> tuple[Edge, ...]:
    pairs = [(nodes[node.trial.parent], node) for node in nodes.values() if node.trial.parent in nodes]
    edges = [Edge(parent, child, parent.on_chain and child.on_chain) for parent, child in pairs]
    return tuple(sorted(edges, key=lambda edge: edge.on_chain))
