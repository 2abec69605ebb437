"""Say why a file holds no problem, in words for its author."""

from __future__ import annotations

from pathlib import Path

from kopt.errors import ProblemError
from kopt.problem.source import REQUIRED, callables, defined, parsed

FILES = "a KernelBench file, a folder of KernelAgent, a definition.json"
EXAMPLES = f"{FILES}, or package.module:function with --inputs"
"""What a problem may be made of, and by kopt new."""


def why_unread(path: Path, option: str = "") -> str:
    """Say in one line what a file that is in no format lacks.

    Args:
        path: the file.
        option: the option that names the file, with a space behind it; empty where the file is the command's word.
    """
    where = f"{option}{path}"
    if path.suffix != ".py":
        return f"{where}: the file is in no format that kopt knows; give {EXAMPLES if option else FILES}"
    try:
        module = parsed(path.read_text(encoding="utf-8-sig"), where)
    except ProblemError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"{where}: the file cannot be read: {error}"
    names = defined(module)
    if "ModelNew" in names and "Model" not in names:
        other, this = ("by --from", "by --kernel") if option else ("to kopt new by --from", "by --kernel")
        return f"{where}: the file defines ModelNew and no Model: give the file with Model {other}, and this one {this}"
    missing = [name for name in REQUIRED if name not in names]
    if len(missing) < len(REQUIRED):
        return f"{where}: the file defines no {' and no '.join(missing)}; a problem needs {', '.join(REQUIRED)}"
    functions = [name for name in callables(module) if not name.startswith("_")]
    which = f"; it defines {', '.join(functions[:5])}" if functions else ""
    command = "" if option else "kopt new NAME "
    return (
        f"{where}: the file defines no Model with get_inputs and get_init_inputs{which}: to take one function of it, "
        f"write {command}--from {path}:{functions[0] if functions else 'function'} --inputs 'torch.randn(4096, 8192)'"
    )
