"""Define a form in which a kernel leaves kopt, and what several forms share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from kopt.errors import ProblemError
from kopt.model.problem import Argument
from kopt.winner import provenance
from kopt.winner.accepted import Pattern, patterns
from kopt.winner.constants import free_arguments
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
        "made_in_evaluation_mode", "wanted_size", "other_kind", "call_kernel", "LARGEST",
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


CHECK = (
    "check",
    "this file as a script checks the kernel against PyTorch: on a GPU, where both are timed, or else on the CPU, in "
    "Triton's interpreter",
)
"""Says, with its label, what a file does that ends with a self-check."""


def kernel_and_reference(winner: Winner, *, checks_itself: bool) -> str:
    """Write a module's head: docstring, provenance, the kernel's code and the reference's, which must share no name.

    Args:
        winner: the kernel.
        checks_itself: whether the file ends with a self-check.

    Raises:
        ProblemError: kernel and reference define a name in two ways.
    """
    kernel = winner.text
    reference = module_text(without_functions(winner.problem.reference, INPUTS))
    _refuse_clashes(winner, kernel, reference)
    told = provenance.as_comments([*limits(arguments(winner), guarded=True), *([CHECK] if checks_itself else [])])
    head = f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}\n{told}"
    helper = "\n\n\n".join([*embedded("arguments"), *embedded("accepted")])
    futures = "\n".join(sorted({*kernel.imports.splitlines(), *reference.imports.splitlines()} - {""}))
    return "\n\n\n".join(part for part in (head, futures, kernel.body, END_OF_KERNEL, reference.body, helper) if part)


def arguments(winner: Winner) -> tuple[Pattern, ...]:
    """Return what the arguments of the kernel have to be like.

    Raises:
        ProblemError: they are not known.
    """
    return patterns(winner.given, winner.problem.name)


def guards(winner: Winner) -> str:
    """Write `why_not(inputs, weights)`: why PyTorch has to run in place of the kernel; empty where the kernel may."""
    rows = "".join(f"    {tuple(one)!r},\n" for one in arguments(winner))
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
    free = free_arguments(winner.problem, winner.source if asks_model else "")
    return f'''FREE = {free!r}
"""Arguments of `Model` that may differ from those of `get_init_inputs`; the kernel holds the others as constants."""


def unlike(given, named):
    """Return with which arguments a model has other constants than the kernel, in words; empty where with none."""
    usual = get_init_inputs()
    signature = inspect.signature(Model.__init__)
    own = signature.bind(None, *given, **named)
    verified = signature.bind(None, **usual) if isinstance(usual, dict) else signature.bind(None, *usual)
    for bound in (own, verified):
        bound.apply_defaults()
    for name in (own.arguments | verified.arguments).keys() - set(FREE):
        one, other = own.arguments.get(name), verified.arguments.get(name)
        if repr(one) != repr(other):
            return f"the model is made with {{name}} = {{one!r}}, the kernel is for {{other!r}}"
    return ""'''


def model_class(winner: Winner, name: str) -> str:
    """Write a class that is the reference's `Model` with the kernel in `forward`, and PyTorch where it must not run."""
    entry = winner.problem.seed.entry
    return f'''{model_guard(winner, asks_model=True)}


class {name}(Model):
    """The reference's `Model`, with its parameters and state, whose `forward` is the kernel where it was verified."""

    def __init__(self, *given, **named):
        """Make the model as the reference does; one with other constants than the kernel's is run by PyTorch."""
        super().__init__(*given, **named)
        self.unlike_verified = unlike(given, named)

    def forward(self, *inputs):
        """Run the kernel, or PyTorch, with a warning, for arguments that it was not verified with."""
        state = dict((*self.named_parameters(), *self.named_buffers()))
        reason = self.unlike_verified or why_not(inputs, [state[one] for one in WEIGHTS])
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
