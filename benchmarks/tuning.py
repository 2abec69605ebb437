"""How fast numbers are found: the rewriter's tuner, random changes, and a random forest, on made-up surfaces.

    python benchmarks/tuning.py [--seeds 12] [--ways tuner,random,forest]

Each seed makes up a best value of every number of a kernel, a bowl around it over the logarithms, a valley between
tiles and warps, and noise of 1 %.  A search proposes 3 points a round, for 4 rounds, around the fastest so far.
Printed is the geometric mean over seeds of the best time relative to the best possible, after each round, and the CPU
time of a proposal.  `forest` needs scikit-learn, which kopt does not; its import takes 1.4 s.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from random import Random
from statistics import geometric_mean

from kopt.artifact import text_digest
from kopt.load_config import load_device
from kopt.problem.folder import load
from kopt.rewrite.experience import Tried
from kopt.rewrite.limits import plausible
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import numbers, read_rows, set_values, tunables
from kopt.rewrite.tune import other_numbers

ROOT = Path(__file__).resolve().parent.parent
FACTS = RewriteFacts(device=load_device("h100", ROOT))
PROBLEMS = ("softmax", "gemma3_swiglu")
ROUNDS, SLOTS = 4, 3

Cost = Callable[[Mapping[str, int]], float]
Way = Callable[[str, Sequence[Tried], set[str], list[str], Random], str | None]
"""Take the parent, what was tried, digests of known sources, the round's proposals and draws; return a source."""


def surface(source: str, draw: Random) -> Cost:
    """Make up a surface over the numbers of a source."""
    found = [each for each in tunables(parse(source), FACTS) if each.others]
    best = {each.name: log(each.value) + draw.choice((-2, -1, 0, 1, 1, 2)) for each in found}
    steep = {name: draw.choice((0.005, 0.02, 0.05)) for name in best}
    valley = held(best) + draw.choice((-1, 0, 1))

    def cost(values: Mapping[str, int]) -> float:
        at = {name: log(values[name]) for name in best}
        bowl = sum(steep[name] * (at[name] - best[name]) ** 2 for name in best)
        return math.exp(bowl + 0.02 * (held(at) - valley) ** 2)

    return cost


def log(value: int) -> float:
    """Return the logarithm (base 2) of a number; no limit of registers counts as 256."""
    return math.log2(value or 256)


def held(at: Mapping[str, float]) -> float:
    """Return the logarithm of the tile over that of the warps."""
    return sum(x for name, x in at.items() if ".B" in name) - sum(x for name, x in at.items() if "warps" in name)


def by_tuner(parent: str, tried: Sequence[Tried], known: set[str], made: list[str], draw: Random) -> str | None:
    """Propose as the rewriter does."""
    pending = [numbers(parse(text), FACTS) for text in made]
    rewrite = other_numbers(parent, facts=FACTS, tried=tried, pending=pending, exclude=known)
    return rewrite.source if rewrite is not None else None


def by_chance(parent: str, tried: Sequence[Tried], known: set[str], made: list[str], draw: Random) -> str | None:
    """Change one number or two to any value."""
    found = [each for each in tunables(parse(parent), FACTS) if each.others]
    points = (
        {each.name: draw.choice(each.others) for each in draw.sample(found, draw.choice((1, 1, 2)))} for _ in range(40)
    )
    return first_new(parent, points, known)


def by_forest(parent: str, tried: Sequence[Tried], known: set[str], made: list[str], draw: Random) -> str | None:
    """Change what a random forest finds fastest, its trees' spread taken off."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor

    module = parse(parent)
    here, found = numbers(module, FACTS).values, [each for each in tunables(module, FACTS) if each.others]
    rows = [[log(value) for value in read_rows(each.numbers).values()] for each in tried]
    trees = RandomForestRegressor(40, random_state=0).fit(rows, [math.log(each.time_ms) for each in tried]).estimators_
    points = [{each.name: value} for each in found for value in each.others]
    points += [{a.name: x, b.name: y} for a, b in combinations(found, 2) for x, y in product(a.others, b.others)]
    told = np.array(
        [tree.predict([[log(v) for v in {**here, **point}.values()] for point in points]) for tree in trees]
    )
    order = np.argsort(told.mean(0) - told.std(0), kind="stable")
    return first_new(parent, (points[place] for place in order), known)


def first_new(parent: str, points, known: set[str]) -> str | None:
    """Return the first point's source that is new and may build."""
    module = parse(parent)
    for point in points:
        source = set_values(module, FACTS, point)
        if source is not None and text_digest(source) not in known and plausible(parse(source), FACTS, module):
            return source
    return None


WAYS: Mapping[str, Way] = {"tuner": by_tuner, "random": by_chance, "forest": by_forest}


def search(source: str, way: Way, seed: int) -> list[float]:
    """Search, and return the best time after each round, relative to the best possible; times are known with noise."""
    cost, noise, draw = surface(source, Random(seed)), Random(seed), Random(seed)
    texts: dict[str, str] = {}

    def judged(text: str) -> Tried:
        read = numbers(parse(text), FACTS)
        texts[text_digest(text)] = text
        return Tried(
            kernel=text_digest(text), parent=text_digest(source), sketch=read.sketch, numbers=read.rows(),
            outcome="passed", time_ms=cost(read.values) * math.exp(noise.gauss(0, 0.01)),
        )  # fmt: skip

    tried, found, parent = [judged(source)], [], source
    for _ in range(ROUNDS):
        made: list[str] = []
        for _ in range(SLOTS):
            text = way(parent, tried, {*texts, *map(text_digest, made)}, made, draw)
            made += [text] if text is not None else []
        tried += [judged(text) for text in made]
        parent = texts[min(tried, key=lambda each: each.time_ms).kernel]
        found.append(cost(numbers(parse(parent), FACTS).values))
    return found


def main() -> None:
    """Search in each way, and print a line for each problem."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--ways", default="tuner,random")
    options = parser.parse_args()
    for name in PROBLEMS:
        source = load(ROOT / "config/problems" / name).seed.source
        for way in options.ways.split(","):
            began = time.process_time()
            runs = [search(source, WAYS[way], seed) for seed in range(options.seeds)]
            spent = (time.process_time() - began) / options.seeds / ROUNDS / SLOTS
            means = " ".join(f"{geometric_mean(run[r] for run in runs):.3f}" for r in range(ROUNDS))
            print(f"{name:14} {way:7} {means}, {1000 * spent:.0f} ms of CPU a proposal", flush=True)


if __name__ == "__main__":
    main()
