"""Choose the forms in which each kind is drawn for a problem: how mild, and with edges in which inputs.

A kind has one usual form, most often with its edges in the first input whose values are free.  Further forms have them
where the usual one leaves an operation of the reference without an edge: the norm of another input, or of a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.draws.domain import EXTREME, Domain, inputs_key
from kopt.device.draws.edges import Arrivals, one_of_each, own_edges
from kopt.device.draws.exponentials import MOST_EXPONENT, MOST_PRODUCT, Exponents
from kopt.device.draws.form import Form
from kopt.device.draws.growth import MOST_SCORE
from kopt.device.draws.kinds import KINDS
from kopt.device.draws.lows import FAR_BELOW, Lows
from kopt.device.draws.model import state_of, weights_of
from kopt.device.draws.sources import Source
from kopt.device.draws.structure import Structure
from kopt.model.problem import Problem

NEGATIVE = "negative"
"""Kind of the rows of one sign, for which weights are made positive."""

LARGE = "large"
"""Kind of numbers whose exponentials overflow, for each input of which the reference takes exponentials."""

TINY = "tiny"
"""Kind of the rows so small that an eps matters, which usually all inputs have."""

NEAR_ZERO = (TINY, "equal", "zeros")
"""Kinds that are edges of divisors, variances and norms."""

EXPONENTIATED = 12
"""Inputs that are tried as further ones with the edges of `large`."""

EDGED = 12
"""Inputs that are tried as the one with the edges of `negative`."""


class Forms:
    """The forms of every kind for one problem."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        """Structure of the inputs, and what of the draws the reference takes."""
        self._usual: dict[str, Form | None] = {}
        self._further: dict[str, dict[str, Form]] = {}
        self._lowered: dict[str, Form] = {}
        """Forms of `negative` beside the usual one that lower maxima of inputs, by the name of the input."""

    def usual(self, kind: str) -> Form | None:
        """Return the form in which a kind is drawn; None where no form of it stays inside the domain."""
        if kind not in self._usual:
            found = self._milder(kind, self.domain.candidates(kind))
            if kind == LARGE:
                found = self._with_large_exponents(found)
            if kind == NEGATIVE and found:
                found, *others = self._with_low_maxima(found)
                again = [found] if found.others_positive and not self._is_large(found.place) else []
                self._lowered = {self._in_words([self._free()[form.place]]): form for form in (*again, *others)}
            self._usual[kind] = found
        return self._usual[kind]

    def further(self, kind: str) -> dict[str, Form]:
        """Return the forms of a kind beside the usual one, by the names of what has edges (`y`, `x, norm.bias`)."""
        usual = self.usual(kind)
        if kind not in self._further:
            found = dict(self._lowered) if kind == NEGATIVE else {}
            for edged in self._edged(kind, usual):
                milder = (replace(form, edged=edged, special=()) for form in self.domain.candidates(kind))
                form = self._milder(kind, dict.fromkeys(milder))
                found |= {self._in_words(edged): form} if form else {}
            self._further[kind] = found
        return self._further[kind]

    def form(self, kind: str, edges: str = "") -> Form | None:
        """Return the usual form of a kind, or the further one in which what is named has edges."""
        return self.further(kind)[edges] if edges else self.usual(kind)

    def _milder(self, kind: str, forms: Iterable[Form]) -> Form | None:
        return next((form for form in forms if self.domain.stays_inside(kind, form)), None)

    def _free(self) -> list[int]:
        """Return the places, among the leaves of the inputs, of those whose values are free."""
        _, inputs, _ = self.domain.known()
        return list(self.domain.free(tree_leaves(list(inputs))))

    @cached_property
    def _arrivals(self) -> Arrivals:
        return self.domain.arrivals()

    @cached_property
    def _names(self) -> dict[int, str]:
        return self.domain.names()

    def _edged(self, kind: str, usual: Form | None) -> Iterator[tuple[Source, ...]]:
        """Yield the inputs, parameters and buffers that have the edges of each further form."""
        model, _, _ = self.domain.known()
        free = self._free()
        if kind not in (*NEAR_ZERO, EXTREME, NEGATIVE, LARGE) or len(free) + len(state_of(model)) < 2:
            return
        has_edges = frozenset[Source](free if kind == TINY else free[usual.place : usual.place + 1] if usual else ())
        seen = self._arrivals
        if kind in (NEGATIVE, LARGE):  # of inputs the usual form takes care
            sets = own_edges(one for one in seen.maxima if not any(isinstance(source, int) for source in one))
        else:
            sets = one_of_each(seen.together, has_edges) if kind == EXTREME else own_edges(seen.near_zero)
        yield from (tuple(sorted(edged, key=str)) for edged in sets if edged != has_edges)

    def _is_large(self, place: int) -> bool:
        """Return whether `large`, which meets another workload, draws rows of negative numbers for an input too."""
        large = self.usual(LARGE)
        return large is not None and place in (large.place, *large.further)

    def _in_words(self, sources: Iterable[Source]) -> str:
        return ", ".join(self._names[source] if isinstance(source, int) else source for source in sources)

    def _with_low_maxima(self, found: Form) -> list[Form]:
        """Return forms with positive other inputs and weights that lower each maximum far below zero, where one can.

        It is the given form where there is no such maximum: the variance of sums of products of one sign cannot be
        computed as the difference of two means.
        """
        model, _, _ = self.domain.known()
        free = self._free()[:EDGED]
        if len(free) + len(weights_of(model)) < 2:
            return [found]
        forms: list[Form] = []
        lowered: set[int] = set()
        for place in range(len(free)):
            form, lows = replace(found, place=place, others_positive=True), Lows()
            inside = self.domain.stays_inside(NEGATIVE, form, lows)
            if not lows.maxima:
                break
            low = {at for at, maximum in enumerate(lows.maxima) if maximum < FAR_BELOW}
            if inside and min(lows.maxima) > -MOST_SCORE and not low <= lowered:
                forms.append(form)
                lowered |= low
        return forms or [found]

    def _with_large_exponents(self, found: Form | None) -> Form | None:
        """Return the form with large values in each input of which the reference takes exponentials.

        Of two inputs whose product is an exponent only one gets large values, since a right kernel cannot compute the
        product of two exactly enough; and it does so only where no other input makes an exponential overflow.
        """
        usual = self._exponents("normal", Form())
        if usual is None or not usual.magnitudes:
            return found
        free = self._free()[:EXPONENTIATED]
        form, alone = found, self._exponents(LARGE, found) if found else None
        for most in (MOST_EXPONENT, MOST_PRODUCT):
            for place in (place for place, at in enumerate(free) if self.domain.structure(at).sign >= 0):
                taken = (form.place, *form.further) if form else ()
                own = self._exponents(LARGE, Form(place=place)) if place not in taken else None
                if own and own.overflow_beside(usual, most):
                    more = replace(form, further=(*form.further, place)) if form else Form(place=place)
                    together = self._exponents(LARGE, more)
                    if together and together.largest <= max(most, 2 * alone.largest if alone else 0.0):
                        form = more
            now = self._exponents(LARGE, form) if form else None
            if now and now.overflow_beside(usual):
                break
        return form

    def _exponents(self, kind: str, form: Form) -> Exponents | None:
        """Return the exponents that the reference takes for a kind; None where it leaves the domain."""
        seen = Exponents()
        return seen if self.domain.stays_inside(kind, form, seen) else None


_FORMS: dict[tuple[object, ...], Forms] = {}


def forms_of(problem: Problem) -> Forms:
    """Return the forms of a problem's draws, which are looked for once in a process."""
    key = inputs_key(problem, problem.small, torch.get_default_device())
    if key not in _FORMS:
        _FORMS[key] = Forms(Domain(problem))
    return _FORMS[key]


def find_forms(problem: Problem) -> None:
    """Look for the structure of a problem's inputs and all forms now, so that forked processes need not."""
    for kind in KINDS:
        forms_of(problem).further(kind)


def further_edges(problem: Problem) -> tuple[tuple[str, str], ...]:
    """Return the further draws of a verdict: kinds, and the names of what has their edges."""
    return tuple((kind, edges) for kind in KINDS for edges in forms_of(problem).further(kind))


def structures(problem: Problem) -> dict[str, Structure]:
    """Return the structure that draws keep of each tensor among the inputs, by name (`x`, `x[1]`)."""
    return forms_of(problem).domain.by_name()


def kinds_outside(problem: Problem) -> tuple[str, ...]:
    """Return the kinds of draw that leave the reference's domain in every form, and are replaced by `given`."""
    return tuple(kind for kind in KINDS if forms_of(problem).usual(kind) is None)
