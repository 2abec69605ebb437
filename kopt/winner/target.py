"""Define a form in which a kernel leaves kopt, and what several forms share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from kopt.errors import ProblemError
from kopt.model.problem import TensorSpec
from kopt.winner import provenance
from kopt.winner.constants import free_arguments
from kopt.winner.source import ModuleText, module_text, without_functions
from kopt.winner.standalone import embedded
from kopt.winner.winner import Winner

IMPORTED = frozenset({"torch", "nn", "F", "math", "triton", "tl", "annotations"})
"""Usual names of modules, which mean the same in a kernel and in a reference."""

OWN = frozenset({"DTYPES", "DIMENSIONS", "SHAPES", "FREE", "KernelModel", "ModelNew", "further_arguments"})
"""Names that the written files define beside those of kernel and reference."""

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


def kernel_and_reference(winner: Winner) -> str:
    """Write a module's head: docstring, provenance, the kernel's code and the reference's, which must share no name.

    Args:
        winner: the kernel.

    Raises:
        ProblemError: kernel and reference define a name in two ways.
    """
    kernel = winner.text
    reference = module_text(without_functions(winner.problem.reference, INPUTS))
    _refuse_clashes(winner, kernel, reference)
    head = f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}"
    helper = "\n\n\n".join(embedded("arguments"))
    futures = "\n".join(sorted({*kernel.imports.splitlines(), *reference.imports.splitlines()} - {""}))
    return "\n\n\n".join(part for part in (head, futures, kernel.body, reference.body, helper) if part)


def tensors(winner: Winner) -> tuple[TensorSpec, ...]:
    """Return the inputs of the first main workload, each of which must be one tensor.

    Raises:
        ProblemError: an input is a list, a dictionary or no tensor, or the inputs are not known.
    """
    if not winner.workloads or winner.workloads[0].unknown:
        raise ProblemError(f"{winner.problem.name}: the shapes of its tensors are not known, which this form needs")
    inputs = winner.workloads[0].inputs
    nested = [spec.name for spec in inputs if not spec.name.isidentifier()]
    if nested:
        raise ProblemError(f"{winner.problem.name}: input {nested[0]} is inside a list or dictionary: use another form")
    return inputs


def verified_shapes(winner: Winner) -> str:
    """Write the shapes of the inputs of all main workloads, as a literal."""
    return repr({tuple(spec.shape for spec in workload.inputs) for workload in winner.workloads})


def guards(winner: Winner) -> str:
    """Write `_verified(inputs)`: whether the kernel has been verified for inputs like these."""
    dtypes = repr(tuple(spec.dtype for spec in tensors(winner)))
    return f'''DTYPES = {dtypes}
"""Dtypes of the inputs that the kernel was verified with."""

DIMENSIONS = {tuple(len(spec.shape) for spec in tensors(winner))!r}
"""Numbers of dimensions of these inputs."""

SHAPES = None
"""Shapes of the inputs to run the kernel on, {verified_shapes(winner)} for those that it was timed on; None for all."""


def _verified(inputs):
    """Return whether the kernel may run: on CUDA tensors as it was verified with, where no gradient is asked for."""
    if len(inputs) != len(DTYPES) or not all(isinstance(one, torch.Tensor) and one.is_cuda for one in inputs):
        return False
    if torch.is_grad_enabled() and any(one.requires_grad for one in inputs):
        return False
    if tuple(str(one.dtype).removeprefix("torch.") for one in inputs) != DTYPES:
        return False
    if tuple(one.dim() for one in inputs) != DIMENSIONS or not all(one.is_contiguous() for one in inputs):
        return False
    return SHAPES is None or tuple(tuple(one.shape) for one in inputs) in SHAPES'''


def model_guard(winner: Winner, *, asks_model: bool) -> str:
    """Write `_made_as_verified(given, named)`: whether a model has the constants that the kernel holds.

    Args:
        winner: the kernel.
        asks_model: the kernel gets from the model what its entry point takes by name.
    """
    free = free_arguments(winner.problem, winner.source if asks_model else "")
    return f'''import contextlib


FREE = {free!r}
"""Arguments of `Model` that may differ from those of `get_init_inputs`; the kernel holds the others as constants."""


def _made_as_verified(given, named):
    """Return whether a model made with these arguments has the constants that the kernel holds."""
    usual = get_init_inputs()
    signature = inspect.signature(Model.__init__)
    own = signature.bind(None, *given, **named)
    verified = signature.bind(None, **usual) if isinstance(usual, dict) else signature.bind(None, *usual)
    for bound in (own, verified):
        bound.apply_defaults()
    names = (own.arguments.keys() | verified.arguments.keys()) - set(FREE)
    with contextlib.suppress(RuntimeError, ValueError):  # tensors and arrays have no single truth value
        return all(bool(own.arguments.get(name) == verified.arguments.get(name)) for name in names)
    return False'''


def model_class(winner: Winner, name: str) -> str:
    """Write a class that is the reference's `Model` with the kernel in `forward`, and PyTorch where it must not run."""
    entry = winner.problem.seed.entry
    return f'''{model_guard(winner, asks_model=True)}


class {name}(Model):
    """The reference's `Model`, with its parameters and state, whose `forward` is the kernel where it was verified."""

    def __init__(self, *given, **named):
        """Make the model as the reference does; one with other constants than the kernel's is run by PyTorch."""
        super().__init__(*given, **named)
        self._has_kernel = _made_as_verified(given, named)

    def forward(self, *inputs):
        """Run the kernel, or PyTorch for inputs, constants and gradients that it was not verified with."""
        trained = torch.is_grad_enabled() and any(one.requires_grad for one in self.parameters())
        if trained or not self._has_kernel or not _verified(inputs):
            return super().forward(*inputs)
        return {entry}(*inputs, **further_arguments({entry}, inputs, self, globals()))'''


def quoted_json(value: object) -> str:
    """Write a value as JSON, as readable as may be."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _refuse_clashes(winner: Winner, kernel: ModuleText, reference: ModuleText) -> None:
    clash = sorted((kernel.names & (reference.names | OWN)) - IMPORTED)
    if clash:
        raise ProblemError(
            f"{winner.problem.name}: the kernel defines {clash[0]!r}, as the reference or the exported file does: "
            "rename it in problem.py and run the search again, which finds all verdicts in the store"
        )
