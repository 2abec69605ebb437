"""Define a form in which a kernel leaves kopt, and what several forms share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from kopt.errors import ProblemError
from kopt.model.problem import Argument
from kopt.winner import provenance
from kopt.winner.accepted import Pattern
from kopt.winner.constants import Made, made_with
from kopt.winner.limits import limits
from kopt.winner.source import END_OF_KERNEL, ModuleText, module_text, without_functions
from kopt.winner.standalone import embedded
from kopt.winner.winner import Winner

IMPORTED = frozenset({"torch", "nn", "F", "math", "triton", "tl", "annotations"})
"""Usual names of modules, which mean the same in a kernel and in a reference."""

OWN = frozenset(
    {
        "ARGUMENTS", "WEIGHTS", "SHAPES", "FREE", "KernelModel", "ModelNew", "further_arguments", "refusal", "refused",
        "tell", "unlike", "why_not", "without_weights", "parted", "unshared", "needs_dispatcher",
        "made_in_evaluation_mode", "wanted_size", "other_kind", "call_kernel", "LARGEST", "MADE_WITH",
        "gradient_of", "sizes_at_hand", "other_size", "made_with", "model_arguments", "differentiated",
    }
)  # fmt: skip
"""Names that the written files define beside those of kernel and reference."""

LARGEST = (1 << 31) - 1
"""Most elements of a tensor that indexes of 32 bits reach; an exported file takes more where more were verified."""

INPUTS = frozenset({"get_inputs"})
"""Functions of a reference that are left out, since they only make its inputs."""


@dataclass(frozen=True)
class Target:
    """A form of a kernel: the text of one file."""

    suffix: str
    """End of the file's name, `.py` or `.json`."""
    purpose: str
    """The form in a few words, for help texts."""
    write: Callable[[Winner], str]
    """Write the file's text.  Raises ProblemError where the kernel cannot have this form."""
    guarded: bool = True
    """Whether the file runs PyTorch in place of the kernel for arguments that the kernel was not verified with."""
    asks_model: bool = True
    """Whether the kernel gets from the user's model what its entry point takes by name."""
    facts: tuple[tuple[str, str], ...] = ()
    """Further lines on files of this form, each a label and a text, for their head and for `kopt export`."""


CHECK = (
    "check",
    "this file as a script checks the kernel against PyTorch: on a GPU, where both are timed, or else on the CPU, in "
    "Triton's interpreter",
)
"""Says, with its label, what a file does that ends with a self-check."""


def kernel_and_reference(
    winner: Winner, *, checks_itself: bool, asks_model: bool = True, told: Sequence[tuple[str, str]] = ()
) -> str:
    """Write a module's head: docstring, provenance, the kernel's code and the reference's, which must share no name.

    Args:
        winner: the kernel.
        checks_itself: whether the file ends with a self-check.
        asks_model: the kernel gets from the model what its entry point takes by name.
        told: further facts of the form, with their labels.

    Raises:
        ProblemError: kernel and reference define a name in two ways.
    """
    kernel = winner.text
    reference = module_text(without_functions(winner.problem.reference, INPUTS))
    _refuse_clashes(winner, kernel, reference)
    facts = limits(made(winner, asks_model=asks_model), guarded=True)
    words = provenance.as_comments([*facts, *told, *([CHECK] if checks_itself else [])])
    head = f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}\n{words}"
    helper = "\n\n\n".join([*embedded("arguments"), *embedded("accepted")])
    futures = "\n".join(sorted({*kernel.imports.splitlines(), *reference.imports.splitlines()} - {""}))
    return "\n\n\n".join(part for part in (head, futures, kernel.body, END_OF_KERNEL, reference.body, helper) if part)


def made(winner: Winner, *, asks_model: bool) -> Made:
    """Return what the reference's model is made with.

    Args:
        winner: the kernel.
        asks_model: the kernel gets from the model what its entry point takes by name.

    Raises:
        ProblemError: see `kopt.winner.constants.made_with`.
    """
    return made_with(winner.problem, winner.given, winner.others, winner.source if asks_model else "")


def arguments(winner: Winner, *, asks_model: bool) -> tuple[Pattern, ...]:
    """Return what the arguments of the kernel have to be like (see `made`)."""
    return made(winner, asks_model=asks_model).patterns


def guards(winner: Winner, *, asks_model: bool = True) -> str:
    """Write `why_not(inputs, weights)`: why PyTorch has to run in place of the kernel; empty where the kernel may."""
    rows = "".join(f"    {tuple(one)!r},\n" for one in arguments(winner, asks_model=asks_model))
    largest = max((_extent(one) for every in winner.given for one in every.arguments if one.dtype), default=0)
    raised = f"LARGEST = {largest}\n\n" if largest > LARGEST else ""
    shapes = {tuple(spec.shape for spec in workload.inputs) for workload in winner.workloads}
    return f'''{raised}ARGUMENTS = (  # name, whether it is an input, dtype, sizes, order in memory, strides, value
{rows})
"""Arguments that the kernel was verified with: a name in place of a size stands for the same size everywhere."""

WEIGHTS = tuple(one[0] for one in ARGUMENTS if not one[1])
"""Names of the model's parameters and buffers."""

SHAPES = None
"""Shapes of the inputs to run the kernel on, {shapes!r} for those that it was timed on; None for all."""


def why_not(inputs, weights):
    """Return why PyTorch has to run in place of the kernel, in words; empty where the kernel may run."""
    if SHAPES is not None and tuple(tuple(one.shape) for one in inputs if isinstance(one, torch.Tensor)) not in SHAPES:
        return "the shapes are not among SHAPES"
    return refused(ARGUMENTS, inputs, weights)'''


def model_guard(winner: Winner, *, asks_model: bool) -> str:
    """Write `unlike(given, named)`: with which other constants than the kernel's a model is made.

    Args:
        winner: the kernel.
        asks_model: the kernel gets from the model what its entry point takes by name.
    """
    found = made(winner, asks_model=asks_model)
    return f'''FREE = {found.free!r}
"""Arguments of `Model` that may differ from those of `get_init_inputs`; the kernel holds the others as constants."""

MADE_WITH = {found.sizes!r}
"""Arguments of `Model` that have to be sizes of the kernel's arguments, or follow from them, by name."""


def model_arguments(given, named):
    """Return the arguments with which a model is made, and those of `get_init_inputs`, by name."""
    usual = get_init_inputs()
    signature = inspect.signature(Model.__init__)
    own = signature.bind(None, *given, **named)
    verified = signature.bind(None, **usual) if isinstance(usual, dict) else signature.bind(None, *usual)
    for one in (own, verified):
        one.apply_defaults()
    return own.arguments, verified.arguments


def unlike(given, named):
    """Return with which arguments a model has other constants than the kernel, in words; empty where with none."""
    own, verified = model_arguments(given, named)
    for name in (own | verified).keys() - set(FREE):
        one, other = own.get(name), verified.get(name)
        if repr(one) != repr(other):
            return f"the model is made with {{name}} = {{one!r}}, the kernel is for {{other!r}}"
    return ""


def made_with(given, named):
    """Return the arguments with which a model is made that have to be sizes of the kernel's arguments, by name."""
    own, _ = model_arguments(given, named)
    return {{name: own[name] for name in MADE_WITH}}'''


def model_class(winner: Winner, name: str) -> str:
    """Write a class that is the reference's `Model` with the kernel in `forward`, and PyTorch where it must not run."""
    entry = winner.problem.seed.entry
    return f'''{model_guard(winner, asks_model=True)}


class {name}(Model):
    """The reference's `Model`, with its parameters and state, whose `forward` is the kernel where it was verified."""

    def __init__(self, *given, **named):
        """Make the model as the reference does; one with other constants than the kernel's is run by PyTorch."""
        super().__init__(*given, **named)
        self.unlike_verified, self.made_with = unlike(given, named), made_with(given, named)

    def forward(self, *inputs):
        """Run the kernel, or PyTorch, with a warning, for arguments that it was not verified with."""
        state = dict((*self.named_parameters(), *self.named_buffers()))
        weights = [state[one] for one in WEIGHTS]
        reason = self.unlike_verified or why_not(inputs, weights)
        reason = reason or other_size(self.made_with, sizes_at_hand(MADE_WITH, ARGUMENTS, inputs, weights))
        if reason:
            tell(reason)
            return super().forward(*inputs)
        return {entry}(*inputs, **further_arguments({entry}, inputs, self, globals()))'''


def _extent(argument: Argument) -> int:
    """Return the elements from the first to the last one of a tensor in memory."""
    return 1 + sum(step * (size - 1) for size, step in zip(argument.shape, argument.stride, strict=True))


def quoted_json(value: object) -> str:
    """Write a value as JSON, as readable as may be."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _refuse_clashes(winner: Winner, kernel: ModuleText, reference: ModuleText) -> None:
    definers = {"the kernel": kernel.names, "the reference": reference.names, "the exported file": OWN}
    for (one, names), (other, others) in combinations(definers.items(), 2):
        if clash := sorted((names & others) - IMPORTED):
            raise ProblemError(
                f"{winner.problem.name}: {one} and {other} define {clash[0]!r}: rename it in problem.py, or in the "
                "kernel, and run the search again, which finds all verdicts in the store"
            )
