"""Write a custom operator of PyTorch, which `torch.compile` calls as one step: `torch.ops.kopt.NAME`."""

from __future__ import annotations

import re

from kopt.errors import ProblemError
from kopt.winner.standalone import REFERENCES, embedded, self_check
from kopt.winner.target import Target, arguments, guards, kernel_and_reference, model_guard
from kopt.winner.winner import Winner

FACTS = (
    (
        "gradients",
        "where one is asked for, call_kernel and KernelModel run PyTorch alone; torch.ops.kopt, and call_kernel inside "
        "of torch.compile, run the kernel, and for the gradient PyTorch, which runs the reference once more",
    ),
)
"""Says, with its label, who computes a gradient."""


def write(winner: Winner) -> str:
    """Return the text of a module that registers the operator, and of `KernelModel`, whose `forward` calls it.

    Raises:
        ProblemError: the operator would change an argument, return other than tensors, or take other than tensors.
    """
    problem, given = winner.problem, arguments(winner, asks_model=False)
    outputs = [spec.name for spec in winner.workloads[0].outputs]
    several = [f"output[{place}]" for place in range(len(outputs))]
    if outputs not in (["output"], several) or problem.mutates or not all(one.dtype for one in given):
        raise ProblemError(
            f"{problem.name}: an operator is written only for a reference that takes tensors alone, returns one tensor "
            "or a tuple of tensors, and changes no argument: use --as module"
        )
    inputs = [one.name for one in given if one.is_input]
    parameters = [one.name for one in given if not one.is_input]
    count = len(outputs) if outputs == several else 0
    operator = _operator(winner.identifier, problem.seed.entry, inputs, parameters, count)
    guard, helpers = (
        model_guard(winner, asks_model=False),
        "\n\n\n".join([*embedded("modes", REFERENCES), *embedded("operator")]),
    )
    head = kernel_and_reference(winner, checks_itself=True, asks_model=False, told=FACTS)
    parts = (head, guards(winner, asks_model=False), guard, helpers, operator, _model(inputs), self_check(winner))
    return "\n\n\n".join(parts) + "\n"


def _operator(name: str, entry: str, inputs: list[str], parameters: list[str], several: int) -> str:
    """Write the operator.

    Args:
        name: of the operator.
        entry: name of the kernel's entry point.
        inputs: names of the inputs.
        parameters: names of the model's parameters and buffers.
        several: number of tensors in the tuple that is returned; 0 for one tensor alone.
    """
    weights = [f"w_{re.sub(r'[^0-9A-Za-z]', '_', one)}" for one in parameters]
    signature = ", ".join(f"{one}: torch.Tensor" for one in (*inputs, *weights))
    listed, passed = ", ".join(inputs), ", ".join([*inputs, *weights])
    state = "{" + ", ".join(f"{full!r}: {weight}" for full, weight in zip(parameters, weights, strict=True)) + "}"
    returned = f"tuple[{', '.join(['torch.Tensor'] * several)}]" if several else "torch.Tensor"
    own = f"unshared({'_result' if several else '(_result,)'}, ({passed},)){'' if several else '[0]'}"
    fake = f"_in_pytorch({passed})"
    return f'''def _further(model):
    """Return what the kernel gets of a model: weights by name, and constants."""
    return parted(further_arguments({entry}, {tuple(inputs)!r}, model, globals()), model)


def _made(inputs, weights):
    """Return the reference's model, made with the sizes at hand, and what the kernel gets of it."""
    _sizes = sizes_at_hand(MADE_WITH, ARGUMENTS, inputs, weights)
    return without_weights(Model, get_init_inputs(), _sizes, _further)


def _in_pytorch({passed}):
    """Run the reference."""
    _state = {state}
    return torch.func.functional_call(_made(({listed},), _state.values())[0], _state, ({listed},))


def _run({passed}):
    """Run the kernel, or PyTorch, with a warning, for arguments that it was not verified with."""
    _state = {state}
    _reason = why_not(({listed},), _state.values())
    if _reason:
        tell(_reason)
        _result = _in_pytorch({passed})
    else:
        _paths, _constants = _made(({listed},), _state.values())[1]
        _weights = {{name: _state[path] for name, path in _paths.items()}}
        _result = {entry}({listed}, **_weights, **_constants)
    return {own}


@torch.library.custom_op("kopt::{name}", mutates_args=())
def _operator({signature}) -> {returned}:
    with torch.no_grad():
        return _run({passed})


@_operator.register_fake
def _({passed}):
    return {f"tuple({fake})" if several else fake}


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, *gradients):
    """Run the reference once more and differentiate it: the kernel computes no gradient."""
    return differentiated(_in_pytorch, ctx.saved_tensors, ctx.needs_input_grad, gradients)


_operator.register_autograd(_differentiate, setup_context=_keep)


def call_kernel(*given):
    """Return what `torch.ops.kopt.{name}` returns, without the way through PyTorch's dispatcher where none is needed.

    The operator is called where something records, transforms or changes what is called (`torch.compile`, tracers,
    `torch.func`, dispatch modes), and for subclasses of tensors.  PyTorch runs where a gradient is asked for.
    """
    return torch.ops.kopt.{name}(*given) if needs_dispatcher(given) else _run(*given)'''


def _model(inputs: list[str]) -> str:
    """Write the class whose `forward` calls the operator.

    Args:
        inputs: names of the inputs.
    """
    listed = ", ".join(inputs)
    return f'''class KernelModel(Model):
    """The reference's `Model`, whose `forward` is the operator where no gradient is asked for."""

    def __init__(self, *given, **named):
        """Make the model as the reference does; one with other constants than the kernel's is run by PyTorch."""
        super().__init__(*given, **named)
        self.unlike_verified, self.made_with = unlike(given, named), made_with(given, named)

    def forward(self, {listed}):
        """Call the operator, or PyTorch, with a warning, where a gradient is asked for, and for other models."""
        state = dict((*self.named_parameters(), *self.named_buffers()))
        weights = [state[name] for name in WEIGHTS]
        reason = self.unlike_verified
        reason = reason or other_size(self.made_with, sizes_at_hand(MADE_WITH, ARGUMENTS, ({listed},), weights))
        for one, given in zip(ARGUMENTS, ({listed}, *weights)):
            reason = reason or gradient_of(one[0], given)
        if reason:
            tell(reason)
            return super().forward({listed})
        return call_kernel({listed}, *weights)'''


TARGET = Target(
    ".py",
    "a custom operator, torch.ops.kopt.NAME, that torch.compile calls as one step, and the function call_kernel",
    write,
    asks_model=False,
    facts=FACTS,
)
