"""SIGKILL of Snakemake and all its children while models are asked, then `--unlock` and the same command."""

from __future__ import annotations

import pytest
from forked_snakemake import COMMAND
from killed_search import Search, arrived, disturb, faults, gaps
from local_models import KEYS, kernel_server, write_models

from kopt.llm.ledger import Ledger

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("killed")]

LIMIT, KILLS, REPLIES = 3, 2, 16
CONFIG = (
    "problem=softmax", "run=t", "rounds=1", "judge=dry", "models=[claude-local,gpt-local]", "candidate_pool_size=1",
    "num_bottlenecks=4", "samples_per_prompt=2", "max_repairs=0", "diagnosis=rules", "reflection=none",
    f"llm={{concurrency: {LIMIT}}}", "warm=false",
)  # fmt: skip


@pytest.fixture
def begin(tmp_path, new_project):
    """A search in a folder of its own, and a server of its own."""
    made = []

    def make(name: str, *settings: str) -> tuple[Search, object]:
        (tmp_path / name).mkdir()
        project, server = new_project(tmp_path / name), kernel_server(tmp_path / f"{name}.jsonl", "--latency", "0.2")
        made.append(server)
        write_models(project.folder, server.port)
        command = [*COMMAND, "--cores", "2", "results/t/best_kernel.py"]  # without the report
        config = (*CONFIG, *settings, *project.settings)
        made.append(Search(project.folder, command, config, project.environment() | KEYS))
        return made[-1], server

    yield make
    for one in made:
        one.stop()


def test_a_killed_search_asks_nothing_again_that_was_answered_and_ends_the_same(begin):
    (calm, calm_server), (search, server) = begin("calm", "warm=true"), begin("disturbed")
    beside = calm.start()
    spans = disturb(search, server, gaps(KILLS, REPLIES - LIMIT, seed=5))
    calm.ends(beside)
    needed = arrived(calm_server)
    assert needed == calm.kept()
    assert needed.total() == REPLIES
    assert faults(spans, needed, LIMIT) == []
    assert all(span.lost for span in spans[:KILLS])
    assert search.ended_as() == calm.ended_as()
    cost = cost_of_run(search)
    assert cost.calls == REPLIES
    assert cost.lost >= sum(span.lost.total() for span in spans)
    assert cost.calls + cost.lost >= arrived(server).total()


def cost_of_run(search):
    ledger = Ledger(search.folder / "results" / "t" / "ledger.jsonl")
    ledger.refresh()
    return ledger.cost()
