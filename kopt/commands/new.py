"""`kopt new`: make a problem of a file, a folder, or a function with example inputs."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT, kernel_text
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.model.problem import Dtype

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands

EPILOG = """examples:
  kopt new softmax2 --from 23_Softmax.py                        a file of KernelBench
  kopt new swish --from definition.json                         a definition with workloads beside it
  kopt new norm --from myops.norms:rms_norm --inputs 'torch.randn(4096, 8192)' 'torch.randn(8192)' 'eps=1e-6'
  kopt new norm_backward --from 40_LayerNorm.py --backward      the gradient of a reference
  kopt new softmax_backward --from 23_Softmax.py --backward --save output   its kernel is given the softmax
"""


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser(
        "new", help="make a problem of a file, a folder, or a function", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", help="name of the problem in config/problems, or with a slash its folder")
    parser.add_argument(
        "--from", dest="source", required=True, metavar="SOURCE", help="a path, or package.module:function"
    )
    parser.add_argument(
        "--inputs", nargs="+", action="extend", default=[], metavar="EXPRESSION",
        help="example inputs of a function in its order, or by name: 'dim=-1'",
    )  # fmt: skip
    parser.add_argument("--init", metavar="ARGUMENTS", help="arguments of a class of modules: '8192, eps=1e-6'")
    parser.add_argument("--dtype", choices=[dtype.value for dtype in Dtype], help="default: that of the first input")
    parser.add_argument("--kernel", type=Path, help="a kernel to start from, with kernel_function or ModelNew")
    parser.add_argument("--backward", action="store_true", help="make the problem of the gradient")
    parser.add_argument(
        "--wrt", nargs="+", default=[], metavar="NAME", help="with --backward: inputs and parameters; default all"
    )
    parser.add_argument(
        "--save", nargs="+", default=[], metavar="OUTPUT",
        help="with --backward: outputs of the forward pass, kept by autograd, that the kernel is given: 'output', "
        "'output[1]', or the name that forward returns",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace a folder that is there; it is kept aside")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Make the problem, write its folder, and print what was understood."""
    from kopt.commands.parts.understood import in_words
    from kopt.problem.make import Wanted, made
    from kopt.problem.write import check_free, write_folder

    folder = folder_of(options.name)
    check_free(folder, force=options.force)
    if options.wrt and not options.backward:
        raise ConfigError("--wrt says what to differentiate for: give --backward too")
    if options.save and not options.backward:
        raise ConfigError("--save says what the forward pass gives to the gradient: give --backward too")
    wanted = Wanted(
        name=folder.name, source=options.source, inputs=options.inputs, init=options.init,
        dtype=options.dtype, kernel=kernel_text(options.kernel) if options.kernel else "",
        backward=options.backward, wrt=options.wrt, save=options.save,
    )  # fmt: skip
    result = made(wanted)
    before = write_folder(folder, result.files, force=options.force)
    if options.json:
        print(json.dumps(result.model_dump(mode="json") | {"folder": str(folder)}, indent=1))
    else:
        print("\n".join(in_words(result, folder, options.name, before)))
    return 0


def folder_of(word: str) -> Path:
    """Return the folder of a new problem.

    Raises:
        ConfigError: the word is no name.
    """
    path = Path(word)
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", path.name):
        raise ConfigError(f"{word!r} cannot be a problem's name: use letters, digits, _ and -")
    return path if "/" in word else ROOT / Config().problems / word
