"""Make a problem of a function or a class of modules that is named on the command line, with example inputs.

Everything here imports and runs the user's code: call it in the cage (`kopt.problem.caged`).
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any  # the user's functions take and return anything

from kopt.errors import ProblemError, nearest
from kopt.model.base import Value
from kopt.model.problem import Dtype, Workload
from kopt.problem.arguments import TOOLS, Argument, equal_sizes, init_arguments, input_arguments, name_numbers, partners
from kopt.problem.derive import Derived, derived
from kopt.problem.draft import Draft
from kopt.problem.own_source import bound, copied, is_installed


class Request(Value):
    """The words that name a function and its inputs."""

    name: str
    """Name of the problem."""
    word: str
    """`package.module:function`, or `file.py:function` with an absolute path."""
    inputs: tuple[str, ...]
    """Expressions, e.g. `torch.randn(4096, 8192)` or `eps=1e-6`, in the order of the function's parameters."""
    init: str | None = None
    """Arguments with which a class of modules is made, as in a call."""
    dtype: Dtype | None = None
    source: str = ""
    """The word as the user wrote it, for messages; empty where it is the same."""

    @property
    def said(self) -> str:
        """The function's name for messages."""
        return self.source or self.word


def problem_of(request: Request) -> Derived:
    """Return the problem of a function: self-contained, with its sizes as constants.

    Raises:
        ProblemError: one line that says what is wrong with the words, the function or its inputs.
    """
    from kopt.device.reference.objects import is_module, is_module_class  # here, because it imports torch

    module, path = _found_module(request.word, request.said)
    target = _found(module, path, request.said)
    is_class = isinstance(target, type)
    if not callable(target) or (is_class and not is_module_class(target)):
        raise ProblemError(f"{request.said} is a {_kind(target)}; name a function, or a class of torch.nn.Module")
    if is_module(target):
        raise ProblemError(f"{request.said} is a module that is made already: name its class, and give --init")
    if request.init is not None and not is_class:
        raise ProblemError(f"--init is for a class of modules; {request.said} is a function")
    body = _definition(module, path, target)
    made = init_arguments(request.init, target) if is_class else []
    arguments = input_arguments(request.inputs, target, request.said)
    taken = {name for statement in ast.parse(body).body for name in bound(statement)} | set(TOOLS)
    for argument in (*made, *arguments):
        name_numbers(argument, taken)
    equal = equal_sizes((*made, *arguments))
    names = {name: equal.get(name, name) for argument in (*made, *arguments) for name in argument.numbers}

    def draft(names: Mapping[str, str], **workloads: tuple[Workload, ...]) -> Draft:
        reference = _reference(request, path, body, made, arguments, names, is_class)
        sizes = tuple(dict.fromkeys(names.values()))
        file = request.said.rpartition("/")[2]  # the reference is made: its lines are in no file of the user's
        return Draft(name=request.name, reference=reference, file=file, dtype=request.dtype, sizes=sizes, **workloads)

    first = derived(draft(names))
    if more := {own: one for own, one in partners(arguments, first.together).items() if own not in equal}:
        equal |= {own: equal.get(one, one) for own, one in more.items()}
        names = {name: equal.get(name, name) for name in names}
        first = derived(draft(names))
    names = _chosen(first, [name for name in names if name not in equal])
    names |= {name: names[size] for name, size in equal.items() if size in names}
    problem = first.problem
    dropped = {name for argument in (*made, *arguments) for name in argument.numbers} - set(names)
    workloads = {kind: _renamed(getattr(problem, kind), names, dropped) for kind in ("hidden", "small")}
    return derived(draft(names, **workloads))


def _found_module(word: str, said: str) -> tuple[ModuleType, str]:
    """Import the module that a word names, and return it with the rest of the word; `said` names it in messages."""
    place, _, path = word.rpartition(":")
    if place.endswith(".py"):
        sys.path.insert(0, str(Path(place).parent))
        place = Path(place).stem
    try:
        return import_module(place), path
    except ModuleNotFoundError as error:
        raise ProblemError(
            f"{said}: there is no module {error.name!r} here or among the installed packages: write package.module:"
            "function, or file.py:function"
        ) from error
    except (Exception, SystemExit) as error:
        raise ProblemError(f"{said}: importing {place} raises {type(error).__name__}: {error}") from error


def _found(module: ModuleType, path: str, word: str) -> Any:
    """Return what a module has under a dotted name."""
    value: Any = module
    for part in path.split("."):
        if not hasattr(value, part):
            known = [name for name in dir(value) if not name.startswith("_")]
            raise ProblemError(f"{word}: {getattr(value, '__name__', value)} has no {part!r}{nearest(part, known)}")
        value = getattr(value, part)
    return value


def _definition(module: ModuleType, path: str, target: Any) -> str:
    """Return the source that defines the target: a copy where it is the user's own, else an import."""
    plain = inspect.unwrap(target)
    home = sys.modules.get(getattr(plain, "__module__", None) or "")
    root = path.partition(".")[0]
    if is_installed(module) and (home is None or is_installed(home)):
        return f"from {module.__name__} import {root}\n"
    origin = home if home is not None and not is_installed(home) and hasattr(home, root) else module
    return copied(origin, root)


def _chosen(first: Derived, names: Collection[str]) -> dict[str, str]:
    """Return the constants to keep: those that workloads change, equal ones that change together as one."""
    used = {n for w in (*first.problem.hidden, *first.problem.small) for n in w.constants}
    values = _constants(first.problem.reference)
    chosen = {name: name for name in names if name in used}
    for group in first.together:
        own = [name for name in group if name in names]
        for name in own:
            equal = [other for other in own if values[other] == values[name]]
            chosen[name] = next((other for other in equal if not other.rpartition("_")[2].isdigit()), equal[0])
    return chosen


def _constants(reference: str) -> dict[str, int]:
    tree = ast.parse(reference)
    return {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name) and isinstance(statement.value.value, int)
    }


def _renamed(
    workloads: Collection[Workload], names: Mapping[str, str], dropped: Collection[str]
) -> tuple[Workload, ...]:
    """Give the constants of workloads other names; those of the user's own code keep theirs."""
    return tuple(
        w.model_copy(
            update={
                "constants": {names.get(own, own): value for own, value in w.constants.items() if own not in dropped}
            }
        )
        for w in workloads
    )


def _reference(
    request: Request, path: str, body: str, made: Sequence[Argument], arguments: Sequence[Argument],
    names: Mapping[str, str], is_class: bool,
) -> str:  # fmt: skip
    """Write `problem.py`."""
    values = {names[own]: node.value for a in (*made, *arguments) for own, node in a.numbers.items() if own in names}
    tensors = [argument for argument in arguments if argument.tensor]
    passed = [a.name if a.tensor else a.text(names) for a in arguments]
    call = ", ".join(f"{a.name}={text}" if a.keyword else text for a, text in zip(arguments, passed, strict=True))
    forward = f"    def forward(self, {', '.join(argument.name for argument in tensors)}):"
    if not is_class:
        model = ["class Model(nn.Module):", forward, f"        return {path}({call})"]
    elif all(a.tensor and not a.keyword for a in arguments):
        model = [] if path == "Model" else [f"Model = {path}"]
    else:
        model = [f"class Model({path}):", forward, f"        return super().forward({call})"]
    by_name = any(argument.keyword for argument in made)
    init = [f'"{a.name}": {a.text(names)}' if by_name else a.text(names) for a in made]
    inputs = ", ".join(a.text(names) for a in tensors)
    text = "\n".join(
        [
            *(f"{name} = {value!r}" for name, value in values.items()), "", "", *model, "", "",
            "def get_inputs():", f"    return [{inputs}]", "", "",
            "def get_init_inputs():", f"    return {_joined(init, '{}' if by_name else '[]')}", "",
        ]
    )  # fmt: skip
    head = f"# {request.word.rpartition('/')[2]}, made a problem by `kopt new`; sizes are constants below.\n"
    read = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    future = "from __future__ import annotations\n"
    body_text = body.removeprefix(future)
    imports = "".join(
        f"{TOOLS[name]}\n" for name in TOOLS if name in read and TOOLS[name] not in body_text.splitlines()
    )
    return head + (future if body.startswith(future) else "") + imports + body_text.rstrip() + "\n\n\n" + text


def _joined(texts: Sequence[str], brackets: str) -> str:
    return f"{brackets[0]}{', '.join(texts)}{brackets[1]}"


def _kind(target: Any) -> str:
    return "class that is no torch.nn.Module" if isinstance(target, type) else type(target).__name__
