"""Render the report page: one HTML file that loads nothing from any network.

Text from models and compilers is untrusted: the template escapes everything, a content security policy allows no
script but the page's own, and control characters (also those that reorder text) become visible.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kopt.model.cost import total
from kopt.model.device import estimate_warning
from kopt.neutral import visible
from kopt.report import costs, curve, lineage, numbers, tables
from kopt.report.diff import diff
from kopt.report.record import RunRecord
from kopt.report.round_line import STOPPED

TEMPLATES = Path(__file__).parent / "templates"

STYLES = 6
"""Colours and shapes that the style sheet has for models; a seventh model takes the first one again."""

TOP_KERNELS = 40
TOP_CLUSTERS = 60


def render(record: RunRecord) -> str:
    """Render the report of a run as HTML; equal records give equal bytes."""
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8").strip()
    return _environment().get_template("report.html.j2").render(
        record=record,
        final=record.final,
        est=record.final.estimated,
        estimate_warning=estimate_warning(record.device),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8").strip()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_derived(record),
    )  # fmt: skip


def _derived(record: RunRecord) -> dict[str, object]:
    """Compute what the template shows beside the record itself."""
    styles = model_styles(record.models, [trial.model for trial in record.trials if trial.round > 0])
    best = lineage.chain(record.trials, record.final.best_name)
    correct = tables.correct_trials(record.trials)
    clusters = tables.clusters(record.trials)
    return {
        "styles": styles,
        "curve": curve.curve(record.rounds, record.trials, styles),
        "frame": curve,
        "peak": max(max(summary.slots, summary.proposed) for summary in record.rounds) or 1,
        "models": tables.models(record.trials, record.final.seed_ms),
        "chain": best,
        "graph": lineage.graph(record.trials, record.selections, best),
        "node": (lineage.NODE_WIDTH, lineage.NODE_HEIGHT),
        "clusters": clusters[:TOP_CLUSTERS],
        "more_clusters": len(clusters[TOP_CLUSTERS:]),
        "failures": tables.failures(record.trials),
        "top": correct[:TOP_KERNELS],
        "correct": len(correct),
        "diff": diff(record.seed_source, record.best_source),
        "cost_usd": sum(trial.cost_usd for trial in record.trials),
        "cost": total(record.costs),
        "cost_by_model": costs.by_model(record.costs),
        "cost_by_round": costs.by_round(record.costs),
        "cost_by_purpose": costs.by_round_and_purpose(record.costs),
    }


def model_styles(configured: Sequence[str], seen: Sequence[str]) -> dict[str, int]:
    """Assign every model an index of colour and shape: configured models in their order, then others by name."""
    names = [*dict.fromkeys(configured), *sorted(set(seen) - set(configured) - {""})]
    return {name: place % STYLES for place, name in enumerate(names)}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "ms": numbers.milliseconds,
        "ratio": numbers.ratio,
        "percent": numbers.percent,
        "slower": numbers.slower_text,
        "usd": costs.dollars,
    }
    environment.globals |= {
        "stopped": STOPPED,
        "time_text": numbers.time_text,
        "compilations": numbers.compilations_text,
    }
    return environment


def _visible(value: object) -> object:
    """Make control characters of text visible; return any other value unchanged."""
    return visible(value) if type(value) is str else value
