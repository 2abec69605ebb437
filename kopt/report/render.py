"""Render the report page: one HTML file that loads nothing from any network.

Text from models and compilers is untrusted: the templates escape everything, figures hold it as data, a content
security policy allows no script but the page's own, and control characters (also those that reorder text) become
visible.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from altair.utils.schemapi import debug_mode
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from kopt.model.cost import total
from kopt.model.device import estimate_warning
from kopt.model.trial import Trial
from kopt.neutral import visible
from kopt.report import costs, lineage, numbers, outcomes, rows, sentences, tables, words
from kopt.report.chosen import shown_trials
from kopt.report.figures import families, progress, roofline, timeline
from kopt.report.figures.chart import Chart
from kopt.report.figures.spec import specs_json
from kopt.report.marked import diff, parts
from kopt.report.reasons import short_reason
from kopt.report.record import RunRecord
from kopt.report.round_line import STOPPED
from kopt.report.status_lines import duration

TEMPLATES = Path(__file__).parent / "templates"

MOST_BYTES = 2_900_000
"""Size that a page keeps below: kernels that open are left out from the least telling one on."""

MOST_GROWN = 100
"""Most rows of the table of candidates that stand one below the other; a longer one scrolls in a frame of its own."""

TOP_CLUSTERS = 40

MOST_CHANGES = 3
"""Most changed settings of a kernel in the table of candidates."""


def render(record: RunRecord) -> str:
    """Render the report of a run as HTML; equal records give equal bytes."""
    environment = page_environment(record.final.estimated)
    context = {
        "record": record,
        "final": record.final,
        "est": record.final.estimated,
        "estimate_warning": estimate_warning(record.device),
        **frame(),
        **_derived(record),
    }
    template = environment.get_template("report.html.j2")
    room = MOST_BYTES - 20_000 - len(template.render(**context, articles=(), opening=frozenset()).encode())
    articles = _articles(record, environment, room)
    return template.render(**context, articles=articles.values(), opening=frozenset(articles))


def frame() -> dict[str, object]:
    """Return what a page is framed by: style sheet, script, and the script's digest for the page's security policy."""
    script = f"(() => {{\n{_text('vega.js')}\n}})();\n{_text('page.js')}"
    return {
        "style": Markup(_text("style.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _articles(record: RunRecord, environment: Environment, room: int) -> dict[str, Markup]:
    """Render the kernels that open, by name, as many as there is room for, in the order of the table of candidates."""
    template = environment.get_template("kernel.html.j2")
    named = {trial.name: trial for trial in record.trials}
    children: dict[str, list[str]] = {}
    for trial in record.trials:
        children.setdefault(trial.parent, []).append(trial.name)
    opening = {kernel.name for kernel in record.kernels}
    articles: dict[str, Markup] = {}
    checked = sorted(record.workloads, key=lambda one: bool(one.checked))
    sizes = {one.name: one.sizes for one in checked}
    titles = {one.name: one.title or one.name for one in checked}
    for kernel in record.kernels:
        trial = named[kernel.name]
        here = [one for one in record.trials if (one.round, one.slot) == (trial.round, trial.slot)]
        text = template.render(
            kernel=kernel, trial=trial, children=children.get(trial.kernel, []) if trial.kernel else [],
            diff=diff(kernel.parent_source, kernel.source) if kernel.parent_source and kernel.source else [],
            parent=named.get(kernel.parent), seed=record.trials[0] if record.trials else None,
            final=record.final, opening=opening, counters=record.counters,
            sizes=sizes, titles=titles, priced=is_priced(record), same=record.same_source.get(trial.name, ""),
            before=[one.name for one in here if one.attempt == trial.attempt - 1 and one.status != "skipped"],
            after=[one.name for one in here if one.attempt == trial.attempt + 1 and one.status != "skipped"],
            repairs=record.repairs,
        )  # fmt: skip
        room -= len(text.encode()) + 100
        if room < 0:
            break
        articles[kernel.name] = Markup(text)
    return {name: articles[name] for name in sorted(articles, key=lambda name: _place(named[name]))}


def is_priced(record: RunRecord) -> bool:
    """Return whether any reply of the run had a price, paid by this run or before."""
    whole = total(record.costs)
    return bool(whole.paid_usd or whole.stored_usd)


def _place(trial: Trial) -> tuple[int, int, int]:
    return trial.round, trial.slot, trial.attempt


def _parents(trials: Sequence[Trial]) -> dict[str, str]:
    """Name the parent of each candidate: the first candidate with the parent's source."""
    first = lineage.first_of_kernel(trials)
    return {trial.name: first[trial.parent].name for trial in trials if trial.parent in first}


def _in_short(changes: Sequence[str]) -> str:
    """Join the first changes of a kernel and the last one, which counts lines of source."""
    left_out = ["..."] if len(changes) > MOST_CHANGES + 1 else []
    return "; ".join([*changes[:-1][:MOST_CHANGES], *left_out, changes[-1]])


def _derived(record: RunRecord) -> dict[str, object]:
    """Compute what the template shows beside the record itself."""
    best = lineage.chain(record.trials, record.final.best_name)
    clusters = tables.clusters(record.trials)
    shown = shown_trials(record)
    judging = rows.judging(record.jobs)
    asked_in = Counter(trial.round for trial in record.trials if trial.status != "skipped")
    with debug_mode(False):  # a test checks the figures against Vega-Lite's schema, which takes half of the time
        drawn = charts(record)
    return {
        "figures": Markup(specs_json(drawn)),
        "plotted": frozenset(drawn),
        "axes": {name: progress.axis_title(name, any(job.gpu for job in record.jobs)) for name in progress.AXES},
        "drawn": _drawn(record),
        "banded": any(trial.low_ms is not None for trial in record.trials),
        "peak": max(asked_in.values(), default=1),
        "models": tables.models(record.trials),
        "chain": best,
        "faster_in": tables.faster_in(record.trials, record.rounds, record.selections),
        "clusters": clusters[:TOP_CLUSTERS],
        "more_clusters": len(clusters[TOP_CLUSTERS:]),
        "failures": outcomes.failures(record.trials, record.same_source),
        "shown": shown,
        "asked": sum(trial.status != "skipped" for trial in record.trials),
        "asked_in": asked_in,
        "parents": _parents(record.trials),
        "changes": {kernel.name: kernel.changes for kernel in record.kernels},
        "contradicted": {kernel.name: kernel.contradicted for kernel in record.kernels},
        "in_short": {kernel.name: _in_short(kernel.changes) for kernel in record.kernels if kernel.changes},
        "verified": sentences.verified_on(record.workloads),
        "diff": diff(record.seed_source, record.best_source),
        "costly": any(trial.cost_usd for trial in record.trials),
        "priced": is_priced(record),
        "cost": total(record.costs),
        "spent": costs.spent(total(record.costs)),
        "cost_by_model": costs.by_model(record.costs),
        "cost_by_round": costs.by_round(record.costs),
        "cost_by_purpose": costs.by_round_and_purpose(record.costs),
        "busy_s": rows.busy_seconds(judging),
        "held_s": sum(job.ended - job.began for job in judging),
        "span_s": max((j.ended for j in record.jobs), default=0) - min((j.began for j in record.jobs), default=0),
        "measures": any(job.gpu for job in record.jobs),
        "gpus": rows.most_at_once(judging),
        "floors": sentences.on_floors(tables.floors(record.trials)),
        "use": sentences.commands(record),
        "words": words.GENERAL,
        "glossary": words.glossary(record),
        "most_grown": MOST_GROWN,
    }


def model_order(configured: Sequence[str], seen: Sequence[str]) -> list[str]:
    """Return the models in the order of their colours: configured models in their order, then others by name."""
    return [*dict.fromkeys(configured), *sorted(set(seen) - set(configured) - {""})]


def _drawn(record: RunRecord) -> list[str]:
    """Name the axes over which the best time so far is drawn: those of which something is known."""
    known = {"x": True, "calls": True, "dollars": any(t.cost_usd for t in record.trials), "judge_s": bool(record.jobs)}
    return [name for name, shown in known.items() if shown]


def charts(record: RunRecord) -> dict[str, Chart]:
    """Draw the figures of a run, by name; those for which nothing is known are left out."""
    models = model_order(record.models, [trial.model for trial in record.trials if trial.round > 0])
    last, estimated = record.rounds[-1], record.rounds[-1].estimated
    spent = rows.progress_rows(record.trials, record.rounds, record.costs, record.jobs)
    children = [row for row in spent if row["round"]]
    drawn: dict[str, Chart] = {
        f"best-{over}": progress.best_so_far(
            spent if over == "x" else [*spent[:1], *children], over, seed_ms=last.seed_ms,
            floor_ms=last.best_ms * last.roofline_share, models=models, estimated=estimated,
            gpu=any(job.gpu for job in record.jobs),
            others=sentences.fastest_of_pytorch(record.final),
        )
        for over in _drawn(record)
    }  # fmt: skip
    family = lineage.graph(record.trials, record.selections, lineage.chain(record.trials, record.final.best_name))
    if family.nodes:
        drawn["lineage"] = families.lineage(family)
    proposers = {trial.name: trial.model for trial in record.trials}
    points = rows.roofline_rows(record.kernels, record.roofs, proposers)
    if points:
        drawn["roofline"] = roofline.roofline(points, rows.roof_rows(record.roofs), models=models, estimated=estimated)
    if clusters := rows.cluster_rows(record.trials, TOP_CLUSTERS):
        drawn["clusters"] = families.clusters(clusters, record.taxonomy, last.round)
    if record.jobs:
        drawn["timeline"] = timeline.timeline(rows.job_rows(record.jobs), any(job.gpu for job in record.jobs))
    return drawn


@cache
def page_environment(estimated: bool) -> Environment:
    """Return what renders templates: it escapes everything, and makes control characters visible.

    Args:
        estimated: whether the page says once for all that its times are no measurements.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "ms": numbers.milliseconds,
        "ratio": numbers.ratio,
        "percent": numbers.percent,
        "usd": costs.dollars,
        "duration": duration,
        "shortened": short_reason,
        "breakable": _breakable,
    }
    environment.globals |= {
        "stopped": STOPPED,
        "time_text": numbers.time_text,
        "after_repair": numbers.after_repair,
        "far_text": numbers.far_text,
        "compilations": numbers.compilations_text,
        "page_estimated": estimated,
        "against_pytorch": sentences.against_pytorch,
        "counted_in": sentences.counted_in,
        "fenced": parts,
        "used_for": sentences.used_for,
        "inputs_by_size": sentences.inputs_by_size,
        "outcome": outcomes.outcome,
        "kind_of": outcomes.kind_of,
        "unsure_between": tables.unsure_between,
        "is_within_error": numbers.is_within_error,
        "within_error": numbers.WITHIN_ERROR,
        "unsure_gain": sentences.unsure_gain,
        "pytorch": numbers.PYTORCH,
        "estimate_error": numbers.ESTIMATE_ERROR,
    }
    return environment


def _breakable(text: str) -> Markup:
    """Let lines break after the underscores of a name."""
    return escape(visible(text)).replace("_", Markup("_<wbr>"))


def _visible(value: object) -> object:
    """Make control characters of text visible; return any other value unchanged."""
    return visible(value) if type(value) is str else value
