"""A made-up run that looks like a real one: rounds, models, repairs, duplicates, failures, clusters."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from kopt.model.diagnosis import Diagnosis, Direction, Profile
from kopt.model.kernel import Candidate, ProposalStatus, candidate_name
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow, Trial
from kopt.model.verdict import Check
from kopt.report.chosen import opened_kernels
from kopt.report.details import ChangedFact, Exchange, JobSpan, KernelDetail, KernelTime, LaunchFacts, Roof
from kopt.report.record import Baseline, FinalFigures, Limits, RunRecord, WorkloadSizes
from kopt.report.trials import assemble_trials
from kopt.search.order import by_time, dedup
from kopt.search.select import select
from kopt.search.strategies.clustered import STRATEGY
from kopt.search.strategy import Archive

TAXONOMY = (
    "split_k_reduce", "tensor_cores", "software_pipelining", "swizzled_load", "persistent_kernel", "vectorized_load",
    "shared_memory_tiling", "register_tiling", "autotuned_config", "masked_access", "atomic_reduction",
    "precision_split", "warp_specialization", "thread_block_clusters", "grid_swizzling", "epilogue_fusion",
    "loop_unrolling", "async_copy_tma",
)  # fmt: skip
MODELS = ("claude-opus-4.6", "gpt-5-4", "gemini-2-5-pro")
SEED_MS, FLOOR_MS = 7.1253, 1.4187
CHANGES = (
    "Process four rows per program, so that the vector is loaded once for all of them.",
    "Split K over two programs and add the partial sums in a second kernel; the grid was too small for 132 SMs.",
    "Raise num_stages to 4 so that loads of the next block overlap with the sum of this one.",
    "BLOCK 2048 -> 4096 and 8 warps: fewer, wider loads.",
    "Persistent grid of 132 programs with an inner loop over the rows, loads marked evict_first, unroll 2.",
    "Drop the mask, since K is a multiple of BLOCK.",
)
FAILURES = (
    ("compile", "CompilationError: at 23:15: incompatible dimensions 64 and 128 in tl.dot(a, b)"),
    ("resources", "264192 bytes of shared memory per block, the device has 232448"),
    ("fallback", "aten.mm.default on device tensors: torch computes part of the result"),
    ("syntax", "unterminated string literal (line 41)"),
)
FIXES = ("", "narrow_loads", "shallow_pipeline", "low_occupancy")
SEED_SOURCE = """import torch
import triton
import triton.language as tl


@triton.jit
def matvec(a, x, y, M, K, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, K, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = columns < K
        left = tl.load(a + row.to(tl.int64) * K + columns, mask=mask, other=0.0)
        right = tl.load(x + columns, mask=mask, other=0.0)
        total += left.to(tl.float32) * right.to(tl.float32)
    tl.store(y + row, tl.sum(total))


def kernel_function(a, x):
    M, K = a.shape
    y = torch.empty((M, 1), device=a.device, dtype=a.dtype)
    matvec[(M,)](a, x, y, M, K, BLOCK=1024)
    return y
"""
BEST_SOURCE = SEED_SOURCE.replace("BLOCK=1024)", "BLOCK=4096, num_warps=8, num_stages=4)").replace(
    "in range(0, K, BLOCK):", "in tl.range(0, K, BLOCK, num_stages=4, loop_unroll_factor=2):"
)


DIRECTION = Direction(rank=1, bottleneck="narrow_loads", cause="2 of 2 loads", direction="Load 16 bytes at once.")


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass
class Tables:
    """Everything a run leaves, rounds together."""

    candidates: list[Candidate] = field(default_factory=list)
    builds: list[BuildRow] = field(default_factory=list)
    evaluations: list[EvaluationRow] = field(default_factory=list)
    techniques: list[list[TechniqueRow]] = field(default_factory=list)
    selections: list[list[SelectionRow]] = field(default_factory=list)
    pools: list[list[RankRow]] = field(default_factory=list)
    summaries: list[RoundSummary] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)
    """Name of the first candidate by fingerprint."""
    vectors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Techniques by kernel."""


def made_up_tables(rounds: int = 3, slots: int = 30, width: int = 3, seed: int = 0) -> Tables:
    draw, tables = random.Random(seed), Tables()
    judge(tables, propose(0, 0, 0, None), SEED_MS, ("masked_access", "precision_split"))
    close_round(tables, 0, 1, width)
    for round in range(1, rounds + 1):
        for slot in range(slots):
            parent = tables.selections[-1][slot % len(tables.selections[-1])]
            for attempt in range(3):
                if one(tables, draw, propose(round, attempt, slot, parent), parent):
                    break
        close_round(tables, round, slots, width)
    return tables


def propose(round: int, attempt: int, slot: int, parent: SelectionRow | None) -> Candidate:
    change = CHANGES[(slot * 7 + round + attempt) % len(CHANGES)] if parent else "the problem's seed kernel"
    return Candidate(
        round=round, attempt=attempt, slot=slot, parent=parent.kernel if parent else "", bottleneck=slot % 3 + 1,
        model=MODELS[slot % 3] if parent else "seed", sample=0, status=ProposalStatus.PROPOSED,
        kernel=digest("kernel", round, attempt, slot), description=change, cost_usd=0.021 if parent else 0.0,
    )  # fmt: skip


def one(tables: Tables, draw: random.Random, candidate: Candidate, parent: SelectionRow) -> bool:
    """Give a candidate its fate; whether its slot is done with."""
    fate = draw.random()
    if fate < 0.04:
        nothing = {"status": ProposalStatus.NONE, "kernel": "", "description": "", "reason": "the reply held no kernel"}
        tables.candidates.append(candidate.model_copy(update=nothing))
        return True
    if fate < 0.22:
        phase, reason = FAILURES[draw.randrange(len(FAILURES))]
        tables.candidates.append(candidate)
        tables.builds.append(build_of(candidate, status="failed", phase=phase, reason=reason))
        return False
    if fate < 0.32:
        judge(tables, candidate, None, (), "largest error 3.75 where 0.0625 is allowed, on integer inputs")
        return False
    if fate < 0.45:
        judge(tables, candidate, 1.0, (), duplicate=draw.choice(sorted(tables.first)))
        return True
    share = draw.choice((0.8, 0.9, 0.97, 1.0, 1.05, 1.3, 6.0))
    time = max(parent.time_ms * share * draw.uniform(0.97, 1.03), FLOOR_MS * draw.uniform(1.04, 1.3))
    gained = draw.sample(TAXONOMY, draw.choice((0, 1, 1, 2)))
    lost = set(draw.sample(parent.techniques, min(len(parent.techniques), draw.choice((0, 0, 1)))))
    used = tuple(name for name in TAXONOMY if name in {*parent.techniques, *gained} - lost)
    judge(tables, candidate, time, used)
    return True


def build_of(candidate: Candidate, **fields: object) -> BuildRow:
    place = {"round": candidate.round, "attempt": candidate.attempt, "slot": candidate.slot}
    return BuildRow(**place, kernel=candidate.kernel, **{"status": "built", **fields})


def judge(
    tables: Tables, candidate: Candidate, time: float | None, techniques: tuple[str, ...], wrong: str = "",
    duplicate: str = "",
) -> None:  # fmt: skip
    fingerprint = duplicate or digest("fingerprint", candidate.name)
    first = tables.first.setdefault(fingerprint, candidate.name)
    tables.candidates.append(candidate)
    tables.builds.append(build_of(candidate, fingerprint=fingerprint, duplicate_of=duplicate and first))
    if duplicate:
        return
    tables.vectors[candidate.kernel] = techniques
    tables.evaluations.append(
        EvaluationRow(
            round=candidate.round, attempt=candidate.attempt, slot=candidate.slot, kernel=candidate.kernel,
            fingerprint=fingerprint, verdict="incorrect" if wrong else "passed", reason=wrong, judge="interpret",
            time_ms=time, roofline_share=time and FLOOR_MS / time,
        )
    )  # fmt: skip


def close_round(tables: Tables, round: int, slots: int, width: int) -> None:
    """Rank, classify and select, with the search's own functions."""
    passed = [e for e in tables.evaluations if e.round == round and e.verdict == "passed"]
    parents = tables.selections[-1] if tables.selections else []
    pool = by_time([*(rank_of(row, row.origin, row.model) for row in parents), *(child(tables, e) for e in passed)])
    known = {row.kernel for row in tables.techniques[-1]} if tables.techniques else set()
    rows = [technique_of(tables, row, row.kernel not in known) for row in dedup(pool)]
    tables.pools.append(pool)
    tables.techniques.append(rows)
    parents, _ = select(pool, rows, STRATEGY, Archive(), width)
    tables.selections.append(parents)
    tables.summaries.append(summary_of(tables, round, slots, pool, rows))


def rank_of(row: SelectionRow | EvaluationRow, origin: str, model: str) -> RankRow:
    return RankRow(
        position=0, kernel=row.kernel, fingerprint=row.fingerprint, origin=origin, model=model, time_ms=row.time_ms,
        estimated=True, roofline_share=row.roofline_share,
    )  # fmt: skip


def child(tables: Tables, row: EvaluationRow) -> RankRow:
    name = candidate_name(row.round, row.attempt, row.slot)
    return rank_of(row, name, next(c.model for c in reversed(tables.candidates) if c.name == name))


def technique_of(tables: Tables, row: RankRow, new: bool) -> TechniqueRow:
    used = tables.vectors[row.kernel]
    return TechniqueRow(
        kernel=row.kernel, fingerprint=row.fingerprint, techniques=used, classified=True,
        cluster="+".join(used) or "none", new=new,
    )  # fmt: skip


def summary_of(tables: Tables, round: int, slots: int, pool: list[RankRow], rows: list[TechniqueRow]) -> RoundSummary:
    builds = [b for b in tables.builds if b.round == round]
    judged = [e for e in tables.evaluations if e.round == round]
    correct = [e.time_ms for e in judged if e.time_ms is not None]
    previous = tables.summaries[-1].best_ms if tables.summaries else SEED_MS
    best = dedup(pool)[0]
    proposed = [c for c in tables.candidates if c.round == round and c.kernel]
    return RoundSummary(
        round=round, slots=slots, proposed=len(proposed), built=sum(b.status == "built" for b in builds),
        unique=len(judged), correct=len(correct), faster=sum(t < previous for t in correct),
        pool_before_dedup=len(pool), pool=len(dedup(pool)), clusters=len({row.cluster for row in rows}),
        classified=sum(row.new for row in rows), best_kernel=best.kernel, best_ms=best.time_ms, best_model=best.model,
        best_origin=best.origin, estimated=True, roofline_share=best.roofline_share, seed_ms=SEED_MS,
        improved=best.time_ms < previous, rounds_without_improvement=0,
    )  # fmt: skip


def made_up_record(rounds: int = 3, slots: int = 30, width: int = 3, seed: int = 0) -> RunRecord:
    tables = made_up_tables(rounds, slots, width, seed)
    trials = assemble_trials(tables.candidates, tables.builds, tables.evaluations, tables.techniques, tables.selections)
    last = tables.summaries[-1]
    best = next(trial for trial in trials if trial.name == last.best_origin)
    record = RunRecord(
        run="matvec-demo", problem="matvec", preset="beam_search_diverse_clustered", models=MODELS, strategy="beam",
        clustering=True, seed=0, judge="interpret", device="NVIDIA H100 80GB HBM3",
        configuration="problem: matvec\nrounds: 3\nmodels:\n- claude-opus-4.6\n- gpt-5-4\n- gemini-2-5-pro\n",
        versions={"python": "3.11.2", "triton": "3.7.1", "torch": "2.13.0", "kopt": "0.1.0"},
        rounds=tuple(tables.summaries), trials=tuple(trials), selections=tuple(map(tuple, tables.selections)),
        best_source=BEST_SOURCE, seed_source=SEED_SOURCE, taxonomy=TAXONOMY,
        command="kopt run matvec --name matvec-demo --preset beam_search_diverse_clustered",
        proposers=dict.fromkeys(MODELS, "by the protocol of its provider"),
        workloads=(
            WorkloadSizes(name="m", sizes="a bfloat16[2048, 1048576]", timed=True, checked=False),
            WorkloadSizes(name="tiles", title="small tiles", sizes="M=64, K=256", timed=False, checked=True),
            WorkloadSizes(name="far", sizes="M=3, K=77", timed=False, checked=False),
        ),
        call="y = kernel_function(a, x)",
        repairs=2,
        same_source=same_source(trials),
        baselines=(
            Baseline(name="eager", ms=8.5, origin="the bytes of 2 operations"),
            Baseline(name="compile", ms=None, origin="not estimated: it has to run on a GPU"),
        ),
        limits=Limits(
            profile=Profile(kind="static", bound="memory", roofline_share=0.5, notes=("no counter was read",)),
            diagnosis=Diagnosis(kernel=best.kernel, source="rules", directions=(DIRECTION,)),
        ),
        asked_to_fix={trial.name: FIXES[trial.bottleneck] for trial in trials if trial.bottleneck},
        counters={"lts__t_sector_hit_rate.pct": "L2 hit rate, %"},
        final=FinalFigures(
            best_name=best.name, description=best.description, best_ms=last.best_ms, seed_ms=SEED_MS,
            speedup=SEED_MS / last.best_ms, estimated=True, roofline_share=last.roofline_share,
        ),
    )  # fmt: skip
    return record.model_copy(
        update={
            "kernels": tuple(detail(name, record) for name in opened_kernels(record)),
            "jobs": made_up_jobs(rounds),
            "roofs": (
                Roof(workload="m", bytes=4_000_000_000, flops=4_000_000_000, gb_s=3027, tflop_s=740, eager_ms=1.5),
            ),
        }
    )


def same_source(trials: list[Trial]) -> dict[str, str]:
    """The second computation by torch, and every duplicate, has the source of an earlier candidate."""
    left_to_torch = [trial.name for trial in trials if trial.phase == "fallback" and not trial.duplicate_of]
    again = dict.fromkeys(left_to_torch[1:2], left_to_torch[0]) if left_to_torch else {}
    return again | {trial.name: trial.duplicate_of for trial in trials if trial.duplicate_of}


def detail(name: str, record: RunRecord) -> KernelDetail:
    """Everything that a kernel can have, for each."""
    trial = next(one for one in record.trials if one.name == name)
    first = {one.kernel: one.name for one in reversed(record.trials) if one.kernel}
    return KernelDetail(
        name=name, source=BEST_SOURCE if trial.kernel else "", parent=first.get(trial.parent, ""),
        parent_source=SEED_SOURCE if trial.parent else "",
        launches=(
            LaunchFacts(
                workload="m", kernel="matvec", grid="2048x1x1", warps=4, stages=3, registers=40, shared_bytes=512,
                spill_bytes=0, occupancy=0.5, constants="BLOCK=4096",
            ),
        ),
        changes=("warps 4 → 8", "BLOCK 1024 → 4096", "2 of 24 lines new, 2 gone") if trial.parent else (),
        changed=(ChangedFact(where="matvec, m", name="registers", before="32", after="40"),),
        checks=(
            Check(workload="tiles", distribution="normal", max_error=0.25, allowed=1.5),
            *([Check(workload="tiles", distribution="integer", max_error=3.75, allowed=0.0625)]
              if trial.verdict == "incorrect" else []),
        ),
        times=(
            (KernelTime(workload="m", ms=trial.time_ms, floor_ms=FLOOR_MS, notes="bound by memory"),)
            if trial.time_ms else ()
        ),
        selection="no: 5th of 9 by time, and beam keeps the 2 fastest" if trial.selected_rank is None else "",
        followed=DIRECTION if trial.parent else None,
        profile=Profile(
            kind="static", bound="memory", roofline_share=0.5, notes=("none",),
            metrics={"waves": 0.97, "lts__t_sector_hit_rate.pct": 47.5, "ptx_loop_load_global": 4.0, "ptx_mma": 0.0},
        ),
        diagnosis=Diagnosis(kernel=trial.kernel, source="rules", directions=(DIRECTION,)),
        exchange=Exchange(model=trial.model, prompt="Make it faster.", reply="```python\n...\n```", note=""),
    )  # fmt: skip


def made_up_jobs(rounds: int) -> tuple[JobSpan, ...]:
    """A job that asks and one that judges in every round, one after the other."""
    return tuple(
        JobSpan(rule=rule, round=number, attempt=0, began=100.0 * number + start, ended=100.0 * number + end, gpu=False)
        for number in range(rounds + 1)
        for rule, start, end in (("generate", 0, 20), ("evaluate", 20, 90))
    )
