"""`kopt new`: make a problem of a file, a folder, or a function with example inputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, kernel_text
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.model.problem import Dtype
from kopt.project import is_installed

PLACE = Place(Panel.BRING, 1)


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the problem in config/problems (installed kopt: in this folder), or with a slash its folder.",
        ),
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="SOURCE", help="A file, a folder, or package.module:function.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--inputs",
            metavar="EXPRESSION...",
            help="Example inputs of a function in its order, or by name, e.g. 'dim=-1'.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="ARGUMENTS", help="Arguments of a class of modules, e.g. '8192, eps=1e-6'."),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", help="Type of inputs and outputs; default: that of the first input.")
    ] = None,
    kernel: Annotated[
        Path | None,
        typer.Option("--kernel", metavar="FILE", help="A kernel to start from, with kernel_function or ModelNew."),
    ] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Make the problem of the gradient.")] = False,
    wrt: Annotated[
        list[str] | None,
        typer.Option("--wrt", metavar="NAME...", help="With --backward: inputs and parameters; default: all."),
    ] = None,
    save: Annotated[
        list[str] | None,
        typer.Option(
            "--save",
            metavar="OUTPUT...",
            help="With --backward: outputs of the forward pass, kept by autograd, that the kernel is given: 'output', "
            "'output[1]', or the name that forward returns.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is there; it is kept aside.")] = False,
    json: AsJson = False,
) -> int:
    """Make a problem of a file, a folder or a function.

    Print what was understood, and write the problem's folder.  A function needs example inputs.

    JSON: `folder`, `problem`, `signature`, `kind`, `notes`, `sizes` that an exported kernel will take, `files` by name,
    and `kept_aside`, the path of what --force replaced.

    Examples:
        kopt new softmax2 --from 23_Softmax.py
        kopt new swish --from definition.json
        kopt new norm --from myops.norms:rms_norm --inputs 'torch.randn(4096, 8192)' 'torch.randn(8192)' 'eps=1e-6'
        kopt new norm_backward --from 40_LayerNorm.py --backward
        kopt new softmax_backward --from 23_Softmax.py --backward --save output
    """
    from kopt.commands.parts.understood import in_words
    from kopt.problem.make import Wanted, made
    from kopt.problem.write import check_free, write_folder
    from kopt.winner.size_rules import size_rules

    folder = folder_of(name)
    check_free(folder, force=force)
    if wrt and not backward:
        raise ConfigError("--wrt says what to differentiate for: give --backward too")
    if save and not backward:
        raise ConfigError("--save says what the forward pass gives to the gradient: give --backward too")
    wanted = Wanted(
        name=folder.name, source=source, inputs=inputs or [], init=init, dtype=dtype,
        kernel=kernel_text(kernel) if kernel else "", backward=backward, wrt=wrt or [],
        save=save or [],
    )  # fmt: skip
    result = made(wanted)
    before = write_folder(folder, result.files, force=force)
    answer = result.model_dump(exclude={"given"}) | {
        "folder": str(folder), "kept_aside": before and str(before),
        "sizes": size_rules(result.problem, result.given, takes=None)[0],
    }  # fmt: skip
    print_answer(answer, in_words(result, folder, name, before), as_json=json)
    return 0


def folder_of(word: str) -> Path:
    """Return the folder of a new problem: a name's is among the problems of the checkout, of an installed kopt here.

    Raises:
        ConfigError: the word is no name.
    """
    path = Path(word)
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", path.name):
        raise ConfigError(f"{word!r} cannot be a problem's name: use letters, digits, _ and -")
    return path if "/" in word or is_installed() else ROOT / Config().problems / word
