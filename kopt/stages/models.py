"""Stage `models`: copy the run's part of the model table into the run, so that later edits do not change its costs.

Before a run asks a model, the stage asks each server for its list of models, which is free: a refused key, a model that
the server does not list or a server that cannot be reached ends the run before anything is spent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from kopt.errors import ConfigError
from kopt.llm.table import ModelTable, load_table
from kopt.model.base import Value

log = logging.getLogger(__name__)


class ModelsSettings(Value):
    """Settings of the rule models."""

    asked_models: tuple[str, ...]
    """Every language model that the run asks."""
    replies: str
    """Where replies come from: live calls, the store, or the exchange folder."""


OFFLINE = "; where all replies are in the store, replies=replay needs no server"


def snapshot(file: Path, names: Sequence[str], replies: str) -> ModelTable:
    """Return the entries of the run's language models, which hold no key.

    Args:
        file: the file of the model table.
        names: the models that the run asks.
        replies: `live` calls are checked; all others open no connection.

    Raises:
        ConfigError: a model cannot be asked; a line for each.
    """
    table = load_table(file).only(names)
    if replies == "live":
        check(table, names)
    return table


def check(table: ModelTable, names: Sequence[str]) -> None:
    """Refuse models that cannot be asked; a fault that may pass is a warning in the log.

    Raises:
        ConfigError: a line for each model, which names model, server and the variable of its key.
    """
    from kopt.llm.doctor import check_online

    findings = check_online(table, names)
    for finding in findings:
        if finding.passing:
            log.warning(finding.line)
    lasting = [finding.line for finding in findings if not finding.passing]
    if lasting:
        raise ConfigError("\nkopt: error: ".join(lasting) + OFFLINE)
