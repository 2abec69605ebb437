"""Every module of kopt can be imported; only those of `kopt.device`, seeds and texts for users load torch then."""

import json
import pkgutil
import subprocess
import sys

import pytest

import kopt

MODULES = sorted(module.name for module in pkgutil.walk_packages(kopt.__path__, "kopt."))
WITH_TORCH = ("kopt.device", "kopt.seed", "kopt.winner.embedded")
LIGHT = [name for name in MODULES if not f"{name}.".startswith(tuple(f"{package}." for package in WITH_TORCH))]
DEVICE = [name for name in MODULES if name not in LIGHT]

IMPORT = """
import importlib, json, sys

forbidden, modules = json.loads(sys.stdin.read())
for name in modules:
    importlib.import_module(name)
    loaded = [other for other in forbidden if other in sys.modules]
    assert not loaded, f"{name} loads {', '.join(loaded)}"
"""


def import_in_order(modules, forbidden):
    """Import modules one after another in a fresh interpreter; return the fault, empty if there is none."""
    words = json.dumps([forbidden, modules])
    done = subprocess.run([sys.executable, "-c", IMPORT], input=words, capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("step", [1, -1], ids=["in order", "in reverse"])
def test_light_modules_load_neither_torch_nor_snakemake_nor_pandas(step):
    """Two orders, since an import circle fails only where it is entered at the wrong module."""
    assert len(LIGHT) > 100
    assert import_in_order(LIGHT[::step], ["torch", "triton", "snakemake", "pandas"]) == ""


@pytest.mark.parametrize("step", [1, -1], ids=["in order", "in reverse"])
def test_heavy_modules_can_be_imported(step):
    assert len(DEVICE) > 30
    assert import_in_order(DEVICE[::step], ["snakemake"]) == ""


def test_a_module_that_loads_what_is_forbidden_is_named():
    assert import_in_order(["kopt.artifact"], ["pydantic"]).endswith("kopt.artifact loads pydantic")
