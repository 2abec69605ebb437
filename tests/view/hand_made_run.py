"""A run written by hand: the seed kernel, and a round with a faster kernel, one that does not compile, a wrong one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kopt.artifact import write_table, write_text, write_value
from kopt.config import Config
from kopt.device.facts.facts import problem_facts
from kopt.jobs.builds import build_key
from kopt.jobs.kernels import put_kernel
from kopt.model.build import Build, Built, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate, Kernel, Slot
from kopt.model.problem import Problem
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, SelectionRow, TechniqueRow
from kopt.run.manifest import configuration_of
from kopt.run.started import STARTED, Started
from kopt.store import Store
from tests.device.small import H100, SCALE, SOURCE
from tests.report.made_up_run import SEED_MS, Tables, build_of, close_round, judge, propose

FASTER = SOURCE.replace("num_warps=4", "num_warps=8")
BROKEN = SOURCE.replace("mask=mask)", "mask=mask]")
WRONG = SOURCE.replace("* factor,", "+ factor,")
HOSTILE = "CompilationError\x1b[2J: \u202eno"
PTX = """
.visible .entry scale_kernel(
	.param .u64 .ptr .global .align 1 scale_kernel_param_0
)
{
	ld.param.b64 	%rd1, [scale_kernel_param_0];
	ld.global.v4.b32 	{ %r1, %r2, %r3, %r4 }, [%rd1];
	st.global.v4.b32 	[%rd1], { %r1, %r2, %r3, %r4 };
	ret;
}
"""
PROBLEM = SCALE.model_copy(update={"seed": Kernel(source=SOURCE)})


@dataclass
class HandMade:
    """The run's folder, its store, and what its tables hold."""

    folder: Path
    store: Store
    config: Config
    tables: Tables


def hand_made_run(root: Path, *, seed: str = SOURCE, faster: str = FASTER, problem: Problem = PROBLEM) -> HandMade:
    """Write a run with one round, `root/results/run`; it has everything but the files of rule finish."""
    store, folder = Store(root / "results" / "store"), root / "results" / "run"
    config = Config(
        problem="scale", run="run", rounds=1, max_repairs=0, models=("kopt-rewrite",), candidate_pool_size=1,
        num_bottlenecks=1, samples_per_prompt=3, judge="interpret",
    )  # fmt: skip
    made = HandMade(folder, store, config, _tables(store, seed, faster))
    write_started(made)
    for name, value in (("problem", problem), ("facts", problem_facts(problem)), ("device", H100)):
        write_value(folder / f"{name}.json", value)
    for round in (0, 1):
        _write_round(made, round, problem, H100)
    return made


def write_started(made: HandMade, **fields: object) -> None:
    """Write how the run was started: by a process that could not lock, unless `fields` say otherwise."""
    given = {
        "words": ("snakemake", "--cores", "2", "--config", "problem=scale", "run=run"), "host": "here",
        "folder": str(made.folder.parents[1]), "moment": 1e9, "first": 1e9, "locked": True,
        "configuration": configuration_of(made.config),
    }  # fmt: skip
    write_value(made.folder / STARTED, Started(**given | fields))


def _tables(store: Store, seed: str, faster: str) -> Tables:
    tables = Tables()
    first = _candidate(propose(0, 0, 0, None), seed, store)
    judge(tables, first, SEED_MS, ("masked_access",))
    close_round(tables, 0, 1, 1)
    (parent,) = tables.selections[-1]
    slots = [
        _candidate(propose(1, 0, slot, parent), source, store) for slot, source in enumerate((faster, BROKEN, WRONG))
    ]
    judge(tables, slots[0], 1.0, ("masked_access", "async_copy_tma"))
    tables.candidates.append(slots[1])
    tables.builds.append(build_of(slots[1], status="failed", phase="syntax", reason=HOSTILE))
    judge(tables, slots[2], None, (), "largest error 3.75 where 0.0625 is allowed")
    close_round(tables, 1, 3, 1)
    return tables


def _candidate(candidate: Candidate, source: str, store: Store) -> Candidate:
    return candidate.model_copy(update={"kernel": put_kernel(source, store), "model": "kopt-rewrite", "cost_usd": 0.0})


def built(store: Store, warps: int) -> Built:
    """A build with one launch."""
    launch = Launch(
        kernel="scale_kernel", grid=(4096, 1, 1), num_warps=warps, num_stages=3, num_ctas=1, shared_bytes=0,
        registers=16, spills=0, signature=(("x_ptr", "*bf16"),), ptx=store.put_text("ptx", PTX, ".ptx"),
        constants=(("BLOCK", "512"),),
    )  # fmt: skip
    workload = WorkloadBuild(workload="main", launches=(launch,), host_ops=())
    return Built(fingerprint=f"{warps}" * 64, workloads=(workload,))


def _write_round(made: HandMade, round: int, problem: Problem, device: Device) -> None:
    tables, folder = made.tables, made.folder / f"round_{round}"
    attempt = folder / "attempt_0"
    if round:
        parent = tables.candidates[0].kernel
        slots = [
            Slot(slot=slot, parent=parent, parent_rank=0, bottleneck=1, model="kopt-rewrite", sample=slot)
            for slot in range(3)
        ]
        write_table(folder / "slots.parquet", slots, Slot)
    builds = [_with_build(row, made, problem, device) for row in tables.builds if row.round == round]
    write_table(attempt / "candidates.parquet", [row for row in tables.candidates if row.round == round], Candidate)
    write_table(attempt / "builds.parquet", builds, BuildRow)
    judged = [row for row in tables.evaluations if row.round == round]
    write_table(attempt / "evaluation_0.parquet", judged, EvaluationRow)
    rows = [RankRow(**row.model_dump(exclude={"rank", "techniques", "cluster"}), position=place)
            for place, row in enumerate(tables.selections[round])]  # fmt: skip
    write_table(folder / "ranking.parquet", rows, RankRow)
    write_table(folder / "techniques.parquet", tables.techniques[round], TechniqueRow)
    write_table(folder / "selection.parquet", tables.selections[round], SelectionRow)
    write_text(folder / "archive.json", "{}")
    write_value(folder / "round.json", tables.summaries[round])
    if not round:
        write_text(folder / "profile" / "0.json", "{}")
        write_value(folder / "diagnosis" / "0.json", Diagnosis(kernel="", source="rules", directions=()))


def _with_build(row: BuildRow, made: HandMade, problem: Problem, device: Device) -> BuildRow:
    if row.status != "built":
        return row
    key = build_key(row.kernel, problem, device)
    made.store.shelf(Build).put(key, built(made.store, 4 + row.round * 4))
    return row.model_copy(update={"build": key.digest()})


def finish(made: HandMade) -> None:
    """Write what rule finish writes, as far as its being there counts."""
    from kopt.run.manifest import manifest_of
    from kopt.run.so_far import read_so_far

    for name in ("best_kernel.py", "final.json", "trials.parquet", "report.html"):
        write_text(made.folder / name, "")
    run = read_so_far(made.folder).run
    assert run is not None
    write_value(made.folder / "manifest.json", manifest_of(run))


def dated(made: HandMade, moment: float) -> None:
    """Date all files of the run."""
    for path in made.folder.rglob("*"):
        os.utime(path, (moment, moment))
