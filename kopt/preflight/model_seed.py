"""Ask language models for a first kernel of a problem, judge it, and send one that fails back with its error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from kopt.backends.problem_facts import facts_of
from kopt.config import Config
from kopt.errors import ConfigError, NoReply
from kopt.jobs.asker import LEDGER, Asker
from kopt.llm.ledger import Ledger
from kopt.llm.reply import Reply
from kopt.llm.table import ModelTable, key_faults
from kopt.llm.text.extract import NoKernel, NotExtracted, kernel_of
from kopt.model.asking import Asking
from kopt.model.base import Value
from kopt.model.cost import Cost
from kopt.model.device import Device
from kopt.model.kernel import candidate_name
from kopt.model.problem import Problem
from kopt.neutral import one_line
from kopt.prompts.context import PromptContext
from kopt.prompts.write_seed import FailedSeed, write_seed
from kopt.report.reasons import short_reason
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.store import Store

FACTS_S = 300.0
"""Most time to count what a reference does, s; generous, since the machine may be busy."""

Judge = Callable[[str], FailedSeed | None]
"""Judges the source of a kernel, as `kopt evaluate` does; returns how it failed, None where it is right."""


class ModelSeed(Value):
    """A right first kernel that a language model wrote."""

    source: str
    made_by: str
    """Name of the model."""


def check_models(table: ModelTable, models: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse, before anything is asked, models that the table lacks, or whose key is not set.

    Raises:
        ConfigError: names the first of them.
    """
    for name in models:
        table.model(name)
    if faults := key_faults(table, models, environment):
        raise ConfigError("; ".join(faults.values()))


def asker_in(folder: Path, table: ModelTable, store: Store, budget_usd: float | None) -> Asker:
    """Return what asks the models; the folder keeps what each reply cost, the store keeps the replies."""
    folder.mkdir(parents=True, exist_ok=True)
    asking = Asking(
        replies="live", delivery="direct", exchange="", budget_usd=budget_usd, budget_calls=None, llm=Config().llm
    )
    return Asker(asking, table, store, folder)


def cost_of(asker: Asker) -> Cost:
    """Return what all replies in the asker's folder have cost so far."""
    ledger = Ledger(asker.run / LEDGER)
    ledger.refresh()
    return ledger.cost()


def written_by_models(
    problem: Problem, device: Device, models: Sequence[str], *, asker: Asker, tries: int, judge: Judge
) -> list[ModelSeed]:
    """Return the kernels that were judged right, at most one of each model; a line for each failure goes to stderr.

    Args:
        problem: the problem; a kernel of its own is not shown to the models.
        device: the device to write for.
        models: names of the models.
        asker: asks them.
        tries: most requests to each model, repairs included.
        judge: judges a kernel.
    """
    facts = run_with_environment(NO_GPU, FACTS_S, facts_of, problem, asker.store)
    context = PromptContext(problem=problem, facts=facts, device=device, triton=version("triton"))
    failed: dict[str, FailedSeed | None] = dict.fromkeys(models)
    right: list[ModelSeed] = []
    for attempt in range(tries):
        asked = {
            candidate_name(0, attempt, place): asker.request(name, write_seed(context, failed[name]))
            for place, name in enumerate(models)
            if name in failed
        }
        try:
            replies = asker.ask(asked)
        except NoReply as error:
            _say(str(error))
            break
        for label, reply in replies.items():
            name = asked[label].model
            found = _judged(reply, name, problem.seed.entry, judge)
            if isinstance(found, FailedSeed) and found.phase != NoKernel.UNANSWERED:
                _say(f"{name}, try {attempt + 1} of {tries}: {found.phase}: {short_reason(found.reason, 200)}")
                failed[name] = found
                continue
            if isinstance(found, ModelSeed):
                right.append(found)
            del failed[name]
        if not failed:
            break
    return right


def _judged(reply: Reply, name: str, entry: str, judge: Judge) -> ModelSeed | FailedSeed:
    extracted = kernel_of(reply, entry)
    if isinstance(extracted, NotExtracted):
        return FailedSeed(phase=extracted.reason, reason=extracted.detail, draft=extracted.draft)
    source = extracted.kernel.source
    return judge(source) or ModelSeed(source=source, made_by=name)


def _say(line: str) -> None:
    print(f"kopt: note: {one_line(line)}", file=sys.stderr, flush=True)
