"""Every module of kopt can be imported alone; only modules of `kopt.device` load torch and Triton when they are."""

import json
import pkgutil
import subprocess
import sys

import kopt

MODULES = sorted(module.name for module in pkgutil.walk_packages(kopt.__path__, "kopt."))

IMPORT_ALONE = """
import importlib, json, os, sys

def imported_alone(name):
    "Import a module in a fork of this process, which has no module of kopt; return the fault, or the heavy modules."
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            answer = [heavy for heavy in HEAVY if heavy in sys.modules]
        except BaseException as error:
            answer = [repr(error)]
        os.write(writer, json.dumps(answer).encode()[:4096])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if text else [f"status {status}"]

PRELOADED, HEAVY, modules = json.loads(sys.stdin.read())
for name in PRELOADED:  # of other packages; each fork would load them again
    importlib.import_module(name)
assert not [name for name in sys.modules if name.split(".")[0] in ("kopt", *HEAVY)]
print(json.dumps({name: imported_alone(name) for name in modules}))
"""


PRELOADED = ("jinja2", "libcst", "numpy", "pandas", "pyarrow.json", "pyarrow.parquet", "pydantic", "yaml")


def imported_alone(modules, preloaded, heavy):
    """By module: the heavy modules that importing it loads, or the fault."""
    told = json.dumps([preloaded, heavy, modules])
    done = subprocess.run([sys.executable, "-c", IMPORT_ALONE], input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_module_outside_device_is_imported_alone_and_without_torch():
    light = [name for name in MODULES if not name.startswith("kopt.device.")]
    assert len(light) > 100
    loaded = imported_alone(light, PRELOADED, ("torch", "triton", "snakemake"))
    assert {name: modules for name, modules in loaded.items() if modules} == {}


def test_every_module_of_device_is_imported_alone():
    device = [name for name in MODULES if name.startswith("kopt.device.")]
    assert len(device) > 30
    loaded = imported_alone(device, (*PRELOADED, "torch", "triton"), ("snakemake",))
    assert {name: modules for name, modules in loaded.items() if modules} == {}
