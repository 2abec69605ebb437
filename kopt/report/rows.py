"""Make the rows behind figures and tables, for the report, notebooks and other programs: lists of flat dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from kopt.model.cost import LabelledCost
from kopt.model.trial import RoundSummary, SelectionRow, Trial
from kopt.report.details import JobSpan, KernelDetail, Roof
from kopt.report.numbers import PYTORCH
from kopt.report.tables import correct_trials

Row = dict[str, object]

COST_COLUMNS = list(LabelledCost.model_fields)
JOB_COLUMNS = ["rule", "round", "attempt", "began_s", "ended_s", "seconds", "gpu"]

SPREAD = 0.36
"""Largest distance of a round's dots from its tick, in rounds; the dots lie in the order in which they were judged."""

EAGER = PYTORCH["eager"]

WAITING = "no job worked"
"""Row of the times in which no job of a run worked."""

LEAST_WAIT = 0.02
"""Share of a run's time from which a time without jobs is listed."""


def trial_rows(trials: Sequence[Trial]) -> list[Row]:
    """List all candidates, losers included."""
    return [trial.model_dump() for trial in trials]


def selection_rows(selections: Sequence[Sequence[SelectionRow]]) -> list[Row]:
    """List the parents that each round selected, with the round."""
    return [{"round": round, **row.model_dump()} for round, rows in enumerate(selections) for row in rows]


def cost_rows(costs: Sequence[LabelledCost]) -> list[Row]:
    """List the cost of the requests of each label."""
    return [row.model_dump() for row in costs]


def round_rows(rounds: Sequence[RoundSummary]) -> list[Row]:
    """List the counts and the best kernel of each round."""
    return [summary.model_dump(mode="json") for summary in rounds]


def job_rows(jobs: Sequence[JobSpan]) -> list[Row]:
    """List the jobs in order of their begin, in seconds since the first one began."""
    start = min((job.began for job in jobs), default=0.0)
    return [
        {
            "rule": job.rule, "round": job.round, "attempt": job.attempt, "began_s": round(job.began - start, 2),
            "ended_s": round(job.ended - start, 2), "seconds": round(job.ended - job.began, 2), "gpu": job.gpu,
        }
        for job in sorted(jobs, key=lambda job: (job.began, job.ended, job.rule))
    ]  # fmt: skip


def waits(jobs: Sequence[Row]) -> list[Row]:
    """List the times in which no job worked, as rows of `job_rows`: waiting for replies, or between two commands.

    Args:
        jobs: rows of `job_rows`.
    """
    ends = [float(str(job["ended_s"])) for job in jobs]
    least, until, found = LEAST_WAIT * max(ends, default=0.0), 0.0, list[Row]()
    for job, end in zip(jobs, ends, strict=True):
        began = float(str(job["began_s"]))
        if began - until > least:
            found.append(
                {"rule": WAITING, "round": None, "attempt": None, "began_s": until, "ended_s": began,
                 "seconds": round(began - until, 2), "gpu": False}
            )  # fmt: skip
        until = max(until, end)
    return found


def busy_seconds(jobs: Iterable[JobSpan]) -> float:
    """Return the time in which at least one of the jobs worked, s."""
    busy, until = 0.0, 0.0
    for job in sorted(jobs, key=lambda job: job.began):
        busy += max(job.ended - max(job.began, until), 0.0)
        until = max(until, job.ended)
    return busy


def most_at_once(jobs: Iterable[JobSpan]) -> int:
    """Return the largest number of the jobs that worked at the same time."""
    ends = sorted([(job.began, 1) for job in jobs] + [(job.ended, -1) for job in jobs])
    return max(accumulate(change for _, change in ends), default=0)


def progress_rows(
    trials: Sequence[Trial], rounds: Sequence[RoundSummary], costs: Sequence[LabelledCost], jobs: Sequence[JobSpan]
) -> list[Row]:
    """List the candidates that were asked for, in order, with what had been spent when each was judged.

    `calls` counts requests to proposers; `dollars` sums what proposals and repairs had cost when their replies were
    made, and requests of earlier rounds that the slots share; `judge_s` is the time for which jobs that judge had
    worked when the attempt was judged, on a GPU those that held it, None where no record of jobs is at hand; `best_ms`
    is the fastest time so far, and `best_low_ms` and `best_high_ms` are the ends of its 95 % interval, None where it
    has none.
    """
    asked = [t for t in trials if t.status != "skipped"]
    numbers = Counter(trial.round for trial in asked)
    places: Counter[int] = Counter()
    best: Trial | None = None
    dollars, calls, shared, rows = 0.0, 0, list(costs), []
    for trial in asked:
        before = [one for one in shared if one.slot is None and one.round < trial.round]
        shared = [one for one in shared if one not in before]
        dollars += trial.cost_usd + sum(one.paid_usd + one.stored_usd for one in before)
        calls += trial.round > 0
        ms = trial.time_ms if trial.verdict == "passed" else None
        if ms is not None and (best is None or best.time_ms is None or ms < best.time_ms):
            best = trial
        place = places[trial.round]
        places[trial.round] += 1
        rows.append(
            {
                "name": trial.name, "model": trial.model, "round": trial.round, "verdict": trial.verdict,
                "x": round(trial.round + SPREAD * (2 * (place + 0.5) / numbers[trial.round] - 1), 3),
                "calls": calls, "dollars": round(dollars, 6), "judge_s": _judged_by(trial, jobs), "ms": ms,
                "best_ms": best.time_ms if best else None, "best_low_ms": best.low_ms if best else None,
                "best_high_ms": best.high_ms if best else None,
            }
        )  # fmt: skip
    return rows


JUDGING = ("evaluate", "rank", "baseline", "outcome", "profile")
"""Begins of the names of rules whose jobs judge or measure kernels; where kernels are measured, they hold a GPU."""


def judging(jobs: Iterable[JobSpan]) -> list[JobSpan]:
    """Return the jobs that held a GPU, or, in a run without one, those that judge."""
    known = list(jobs)
    return [job for job in known if job.gpu] or [job for job in known if job.rule.startswith(JUDGING)]


def _judged_by(trial: Trial, jobs: Sequence[JobSpan]) -> float | None:
    """Return the seconds of judging jobs up to the end of those that judged a trial's attempt."""
    own = judging(jobs)
    ends = [job.ended for job in own if (job.round, job.attempt) == (trial.round, trial.attempt)]
    if not ends:
        return None
    return round(sum(min(job.ended, max(ends)) - job.began for job in own if job.began < max(ends)), 1)


def cluster_rows(trials: Sequence[Trial], most: int | None = None) -> list[Row]:
    """Count the correct kernels of each cluster that each round brought, with the fastest one and its time.

    `cluster 1` has the fastest kernel of all rounds, and so on.

    Args:
        trials: all trials of the run.
        most: number of clusters to list, those with the fastest kernels; None: all.
    """
    correct = [t for t in correct_trials(trials) if t.cluster and t.cluster != t.kernel]
    leaders: dict[str, Trial] = {}
    for trial in correct:
        leaders.setdefault(trial.cluster, trial)
    shown = set(list(leaders)[:most])
    order = {cluster: place for place, cluster in enumerate(leaders, 1)}
    groups: dict[tuple[str, int], list[Trial]] = {}
    for trial in correct:
        groups.setdefault((trial.cluster, trial.round), []).append(trial)
    return [
        {
            "cluster": f"cluster {order[cluster]}", "name": group[0].name, "round": number,
            "kernels": len(group), "ms": group[0].time_ms,
            "techniques": list(group[0].techniques) or ["none"],
        }
        for (cluster, number), group in groups.items()
        if cluster in shown
    ]  # fmt: skip


def roofline_rows(kernels: Sequence[KernelDetail], roofs: Sequence[Roof], models: dict[str, str]) -> list[Row]:
    """Place kernels on the roofline of each workload.

    A kernel whose moved bytes are known (it was profiled) lies at its own intensity, another at that of fewest bytes.

    Args:
        kernels: kernels with their times by workload.
        roofs: what each workload demands.
        models: the proposer of each candidate.
    """
    rows: list[Row] = []
    for roof in roofs:
        if not roof.flops or not roof.bytes:
            continue
        for kernel in kernels:
            metrics = kernel.profile.metrics if kernel.profile else {}
            ratio = metrics.get("traffic_ratio") or 1.0
            rows += [
                _roofline_row(kernel.name, models.get(kernel.name, ""), roof, time.ms, max(ratio, 1.0))
                for time in kernel.times
                if time.workload == roof.workload
            ]
        if roof.eager_ms:
            rows.append(_roofline_row(EAGER, EAGER, roof, roof.eager_ms, 1.0))
    return rows


def _roofline_row(name: str, model: str, roof: Roof, ms: float, ratio: float) -> Row:
    return {
        "name": name, "model": model, "workload": roof.workload, "ms": ms,
        "intensity": roof.flops / roof.bytes / ratio, "tflop_s": roof.flops / ms / 1e9,
    }  # fmt: skip


def roof_rows(roofs: Sequence[Roof]) -> list[Row]:
    """List the corner points of each workload's roof: memory's slope, then the rate of arithmetic."""
    rows: list[Row] = []
    for roof in roofs:
        if roof.flops and roof.bytes:
            ridge = 1e3 * roof.tflop_s / roof.gb_s
            own = roof.flops / roof.bytes
            ends = (min(ridge, own) / 8, ridge, max(ridge, own) * 4)
            names = ("", f"{roof.gb_s:.0f} GB/s, {roof.tflop_s:.0f} TFLOP/s", "")
            rows += [
                {
                    "workload": roof.workload, "intensity": intensity, "text": name,
                    "tflop_s": min(roof.tflop_s, roof.gb_s * intensity / 1e3),
                }
                for intensity, name in zip(ends, names, strict=True)
            ]  # fmt: skip
    return rows
