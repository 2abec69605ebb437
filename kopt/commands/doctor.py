"""`kopt doctor`: check what a run needs: versions, GPU, cage, language models."""

from __future__ import annotations

from pathlib import Path

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, ConfigFile, Preset, Settings, settings_of
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.load_config import load_device
from kopt.run_settings import RunSettings
from kopt.store import Store

PLACE = Place(Panel.HOUSE, 4)


def run(preset: Preset = None, configfile: ConfigFile = None, config: Settings = None, json: AsJson = False) -> int:
    """Check what a run needs: versions, GPU, cage, language models.

    Print what there is, then faults; the status is 1 where there is a fault.

    JSON: `versions`, `gpus`, `judge`, `cage`, `counters`, `rates`, `noise`, `notes`, `faults`, and the faults of
    language models in `models`.

    Examples:
        kopt doctor
        kopt doctor --preset beam_search_diverse --config problem=matvec
    """
    from kopt.commands.parts.examination import examine, in_words
    from kopt.jobs.made_seed import with_seed
    from kopt.problem import folder

    settings = settings_of(preset, configfile, config)
    faults = model_faults(settings)
    device, store = load_device(settings.device, ROOT), Store(Path(settings.store))
    problem = with_seed(folder.load(ROOT / settings.problems / settings.problem), device, store)
    examination = examine(settings.judge, problem, store)
    models = "all is well" if RunSettings(settings).asked_models else "no language model is asked"
    lines = [*in_words(examination), *(faults or [f"models: {models}"])]
    print_answer(examination.model_dump() | {"models": faults}, lines, as_json=json)
    return 1 if faults or examination.faults else 0


def model_faults(config: Config) -> list[str]:
    """Return the faults of a run's language models: unknown names, unset or refused keys, servers without answer."""
    from kopt.llm.doctor import check_online
    from kopt.load_config import check_files
    from kopt.preflight.validate import model_table

    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    return [finding.line for finding in check_online(table, RunSettings(config).asked_models)]
