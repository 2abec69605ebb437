"""Refine a kernel that pays: other numbers (tiles, warps, stages), or one or two small changes besides them, in turn.

Numbers follow from a model of what the run has measured.  The model is a Gaussian process over the logarithm of time
(Rasmussen and Williams, chapter 2).  Its mean is the analytic guess of `priors`; measured times of the sketch correct
it, and so do, less, those of the run's other sketches that have the same numbers.  What is proposed next has the
largest expected improvement (Jones, Schonlau and Welch 1998) over the fastest kernel of the sketch, among points that
are one step from the parent in one number or two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, islice, product

from kopt.artifact import text_digest
from kopt.rewrite.experience import Tried
from kopt.rewrite.gaussian import Posterior, condition
from kopt.rewrite.limits import fits_with, plausible
from kopt.rewrite.priors import Prior, prior
from kopt.rewrite.propose import Rewrite, refine
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import Numbers, Tunable, numbers, read_rows, set_values, tunables

OFFSET = 0.7
"""Standard deviation of the logarithm of time from sketch to sketch."""
SPREAD = 0.4
"""Standard deviation that numbers add within a sketch, beside the analytic guess."""
LENGTH = 2.5
"""Logarithm (base 2) of the factor between two values of a number over which times become unlike."""
ALIKE = 0.6
"""Correlation of what numbers do in two sketches."""
NOISE = 0.02
"""Standard deviation of a measured time, as a logarithm."""
FAILURE = 0.4
"""Logarithm of time that a failed kernel counts as slower than its parent."""
MOST_POINTS = 80
"""Most points of the model; those of the sketch come first, then the fastest."""
LEAST_IMPROVEMENT = 0.002
"""Expected improvement below which a sketch counts as tuned, as a logarithm of time."""
RENDERED = 12
"""Points that are written as sources, the most promising first, before the tuner gives up."""
NO_LIMIT = 256
"""Registers that stand for no limit of registers."""
TUNED = "numbers"
"""Name of the tuner among the transformations of a proposal."""


@dataclass(frozen=True)
class Point:
    """Numbers of a sketch, with the logarithm of a time that is known, or is guessed for a pending proposal."""

    sketch: str
    values: Mapping[str, int]
    log_time: float

    @cached_property
    def places(self) -> Mapping[str, float]:
        """Coordinates by name: logarithms of the values in units of `LENGTH`."""
        return {name: _place(value) / LENGTH for name, value in self.values.items()}


def tune(
    parent: str,
    *,
    turn: int,
    facts: RewriteFacts,
    tried: Sequence[Tried],
    pending: Sequence[Numbers] = (),
    exclude: AbstractSet[str],
) -> Rewrite | None:
    """Propose a parent with other numbers in even turns, with small changes in odd ones; None where none is new.

    The other arguments are those of `other_numbers`.
    """
    renumbered = partial(other_numbers, parent, facts=facts, tried=tried, pending=pending, exclude=exclude)
    refined = partial(refine, parent, facts=facts, exclude=exclude)
    first, second = (refined, renumbered) if turn % 2 else (renumbered, refined)
    return first() or second()


def other_numbers(
    parent: str,
    *,
    facts: RewriteFacts,
    tried: Sequence[Tried],
    pending: Sequence[Numbers] = (),
    exclude: AbstractSet[str],
) -> Rewrite | None:
    """Propose other numbers for a parent; None where nothing promises an improvement.

    The same arguments give the same proposal.

    Args:
        parent: source to change.
        facts: facts of the parent and the device.
        tried: the candidates of earlier rounds, the parent among them.
        pending: numbers that were proposed and not yet judged, from which the proposal keeps away.
        exclude: digests of the sources that were proposed before.
    """
    module = parse(parent)
    if module is None or not module.triton:
        return None
    here, found = numbers(module, facts), _timed(tunables(module, facts), facts)
    points = _points(tried, text_digest(parent), here)
    own = [point.log_time for point in points if point.sketch == here.sketch]
    if not own:
        return None
    surrogate = Surrogate(here.sketch, prior(module, facts), points).with_pending(pending)
    best = min(own)
    offers = [(surrogate.improvement(values, best), values) for values in _neighbours(here, found)]
    offers.sort(key=lambda offer: (-offer[0], sorted(offer[1].items())))
    fitting = (v for improvement, v in offers if improvement >= LEAST_IMPROVEMENT and fits_with(module, facts, v))
    for values in islice(fitting, RENDERED):
        source = set_values(module, facts, values)
        changed = parse(source) if source is not None else None
        if changed is not None and text_digest(changed.source) not in exclude and plausible(changed, facts, module):
            mean, _ = surrogate.predict(values)
            description = _description(here, values, math.exp(mean), len(points))
            return Rewrite(source=changed.source, description=description, transformations=(TUNED,))
    return None


@dataclass(frozen=True)
class Surrogate:
    """The model of time over the numbers of one sketch."""

    sketch: str
    prior: Prior
    points: tuple[Point, ...]

    @cached_property
    def _posterior(self) -> Posterior:
        covariance = [
            [_covariance(a, b) + (NOISE**2 if i == j else 0.0) for j, b in enumerate(self.points[: i + 1])]
            for i, a in enumerate(self.points)
        ]
        centre = self._centre
        return condition(covariance, [p.log_time - self._guess(p) - centre for p in self.points])

    @cached_property
    def _centre(self) -> float:
        own = [p for p in self.points if p.sketch == self.sketch] or self.points
        return math.fsum(p.log_time - self._guess(p) for p in own) / len(own)

    def _guess(self, point: Point) -> float:
        return self.prior(point.values)

    def predict(self, values: Mapping[str, int]) -> tuple[float, float]:
        """Predict the logarithm of time at some numbers: mean and standard deviation."""
        point = Point(self.sketch, values, 0.0)
        mean, deviation = self._posterior.at(
            [_covariance(point, other) for other in self.points], _covariance(point, point)
        )
        return mean + self._guess(point) + self._centre, deviation

    def with_pending(self, pending: Sequence[Numbers]) -> Surrogate:
        """Take pending proposals of the sketch for measured, at the times that the model predicts."""
        same = [there.values for there in pending if there.sketch == self.sketch]
        points = [Point(self.sketch, values, self.predict(values)[0]) for values in same[-MOST_POINTS:]]
        return Surrogate(self.sketch, self.prior, (*self.points, *points)) if points else self

    def improvement(self, values: Mapping[str, int], best: float) -> float:
        """Return the expected improvement over a best time, both as logarithms."""
        mean, deviation = self.predict(values)
        if deviation <= 0:
            return max(best - mean, 0.0)
        z = (best - mean) / deviation
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return (best - mean) * (1 + math.erf(z / math.sqrt(2))) / 2 + deviation * density


def _points(tried: Sequence[Tried], parent: str, here: Numbers) -> tuple[Point, ...]:
    """Turn what was tried into points: those of the parent's sketch first, then the fastest.

    The parent's numbers may be known here alone: who is not the rewriter leaves no numbers.
    """
    times = {each.kernel: each.time_ms for each in tried if each.time_ms is not None}
    points: dict[tuple[str, tuple[str, ...]], Point] = {}
    for each in tried:
        time = each.time_ms
        if time is None and each.outcome in ("failed", "screened") and each.parent in times:
            time = times[each.parent] * math.exp(FAILURE)
        sketch, rows = (here.sketch, here.rows()) if each.kernel == parent else (each.sketch, each.numbers)
        if time is not None and sketch:
            points.setdefault((sketch, rows), Point(sketch, read_rows(rows), math.log(time)))
    ordered = sorted(points.items(), key=lambda item: (item[0][0] != here.sketch, item[1].log_time, item[0]))
    return tuple(point for _, point in ordered[:MOST_POINTS])


def _covariance(a: Point, b: Point) -> float:
    """Return the covariance of two points' logarithms of time: of their sketches, and of their numbers."""
    same = a.sketch == b.sketch
    distance = math.fsum(
        (a.places[name] - b.places[name]) ** 2 if name in a.places and name in b.places else 1.0
        for name in a.places.keys() | b.places.keys()
    )
    return (OFFSET**2 if same else 0.0) + SPREAD**2 * (1.0 if same else ALIKE) * math.exp(-distance / 2)


def _timed(found: Sequence[Tunable], facts: RewriteFacts) -> list[Tunable]:
    """Leave out the numbers of kernels that no main workload launches."""
    launched = {launch.kernel for launch in facts.launches}
    timed = [each for each in found if each.name.partition(".")[0] in launched]
    return timed or list(found)


def _neighbours(here: Numbers, found: Sequence[Tunable]) -> Iterator[dict[str, int]]:
    """List the points near a source: one number or two, each at the next value below or above."""
    start = dict(here.values)
    for each in found:
        for value in _next(each):
            yield start | {each.name: value}
    for first, second in combinations(found, 2):
        for a, b in product(_next(first), _next(second)):
            yield start | {first.name: a, second.name: b}


def _next(each: Tunable) -> list[int]:
    """List the next values below and above, where there are some."""
    below = [v for v in each.others if _place(v) < _place(each.value)]
    above = [v for v in each.others if _place(v) > _place(each.value)]
    return [*sorted(below, key=_place)[-1:], *sorted(above, key=_place)[:1]]


def _place(value: int) -> float:
    """Return the logarithm of a number, or of what stands for none."""
    return math.log2(value or NO_LIMIT)


def _description(here: Numbers, values: Mapping[str, int], time_ms: float, measured: int) -> str:
    changes = [
        f"{name.rpartition('.')[2]} {old or 'none'} -> {values[name]} in {name.partition('.')[0]}"
        for name, old in here.values.items()
        if values[name] != old
    ]
    return f"{'; '.join(changes)}: {time_ms:.4f} ms expected after {measured} kernels"
