"""Make wrong kernels of right ones by rule: mutants.

A rule looks at one node of a kernel's syntax tree and returns what to put in its place, or None.  Every idiom gets
`PER_IDIOM` mutants, each by another rule and at one place; which, follows from a digest of the names, so that all
mutants are the same in every run.  Mutants that turn out right are either recognised by their compiled code
(`verdicts.py`), or listed in `mutants.yaml` with the reason, as are those that are wrong and pass.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from idiom_corpus import Idiom
from mutation_rules import RARE, RULES, Rule, Where

from kopt.model.problem import Dtype

LISTED = Path(__file__).with_name("mutants.yaml")


PER_IDIOM = 3


class Mutant(NamedTuple):
    """A kernel that was changed at one place."""

    rule: str
    place: int
    """Which of the places where the rule applies."""
    source: str

    @property
    def name(self) -> str:
        """Return a name that is unique within the idiom."""
        return f"{self.rule}_{self.place}"


class Listed(NamedTuple):
    """Mutants that pass, with the reason, by name."""

    equivalent: dict[str, str]
    """Right all the same."""
    survivors: dict[str, str]
    """Wrong, and not caught."""

    def why(self, name: str) -> str:
        """Return the reason; empty for a mutant that is not listed."""
        if name in self.equivalent:
            return f"equivalent: {self.equivalent[name]}"
        return f"survivor: {self.survivors[name]}" if name in self.survivors else ""


def listed() -> Listed:
    """Read the list of mutants that pass."""
    lists = yaml.safe_load(LISTED.read_text()) if LISTED.exists() else {}
    return Listed(lists.get("equivalent") or {}, lists.get("survivors") or {})


def mutants_of(idiom: Idiom) -> tuple[Mutant, ...]:
    """Return the mutants of an idiom: rare rules first, others as the digest of their name and the idiom's says."""

    def order(rule: Rule) -> tuple[bool, int]:
        return rule not in RARE, _digest(idiom.name, rule.__name__)

    made: list[Mutant] = []
    for rule in sorted(RULES, key=order):
        if rule not in RARE and len(made) >= PER_IDIOM:
            break
        if mutant := mutate(idiom, rule):
            made.append(mutant)
    return tuple(made)


def mutate(idiom: Idiom, rule: Rule) -> Mutant | None:
    """Return the mutant that a rule makes of an idiom; None where the rule finds nothing to change."""
    tree = ast.parse(idiom.problem.seed.source)
    places = [
        (node, new) for node, where in _nodes(tree, idiom.problem.dtype) if (new := rule(node, where)) is not None
    ]
    if not places:
        return None
    place = _digest("place", idiom.name, rule.__name__) % len(places)
    old, new = places[place]
    source = ast.unparse(ast.fix_missing_locations(_Replace(old, new).visit(tree)))
    return Mutant(rule.__name__, place, source + "\n")


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Put the new node in the place of the old one."""
        if node is self._old:
            return self._new
        visited = self.generic_visit(node)
        assert isinstance(visited, ast.AST)
        return visited


def _digest(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\x00".join(parts).encode()).digest()[:8], "big")


def _nodes(tree: ast.Module, dtype: Dtype) -> Iterator[tuple[ast.AST, Where]]:
    """Yield all nodes of functions, in order, with their places; not decorators and annotations."""

    def walk(node: ast.AST, parents: tuple[ast.AST, ...], in_kernel: bool) -> Iterator[tuple[ast.AST, Where]]:
        yield node, Where(parents, dtype, in_kernel)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, (*parents, node), in_kernel)

    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        in_kernel = any("triton.jit" in ast.unparse(decorator) for decorator in function.decorator_list)
        for statement in function.body:
            if not isinstance(statement, ast.FunctionDef):
                yield from walk(statement, (function,), in_kernel)
