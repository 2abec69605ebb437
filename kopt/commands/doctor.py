"""`kopt doctor`: check what a run needs: versions, GPU, cage, language models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT, add_settings, settings_of
from kopt.config import Config
from kopt.load_config import load_device
from kopt.run_settings import RunSettings
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("doctor", help="check what a run needs: versions, GPU, cage, language models")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_settings(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print what there is, then faults; the status is 1 when there is a fault."""
    from kopt.commands.parts.examination import examine, in_words
    from kopt.jobs.made_seed import with_seed
    from kopt.problem import folder

    config = settings_of(options)
    faults = model_faults(config)
    store = Store(Path(config.store))
    problem = with_seed(folder.load(ROOT / config.problems / config.problem), load_device(config.device, ROOT), store)
    examination = examine(config.judge, problem, store)
    if options.json:
        print(json.dumps(examination.model_dump(mode="json") | {"models": faults}, indent=1))
    else:
        models = "all is well" if RunSettings(config).asked_models else "no language model is asked"
        print("\n".join([*in_words(examination), *(faults or [f"models: {models}"])]))
    return 1 if faults or examination.faults else 0


def model_faults(config: Config) -> list[str]:
    """Return the faults of a run's language models: unknown names, unset or refused keys, servers without answer."""
    from kopt.llm.doctor import check_online
    from kopt.load_config import check_files
    from kopt.preflight.validate import model_table

    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    return [finding.line for finding in check_online(table, RunSettings(config).asked_models)]
