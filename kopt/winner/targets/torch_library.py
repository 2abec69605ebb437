"""Write a custom operator of PyTorch, which `torch.compile` calls as one step: `torch.ops.kopt.NAME`."""

from __future__ import annotations

import re

from kopt.errors import ProblemError
from kopt.winner.target import Target, guards, kernel_and_reference, model_guard, tensors
from kopt.winner.winner import Winner


def write(winner: Winner) -> str:
    """Return the text of a module that registers the operator, and of `KernelModel`, whose `forward` calls it.

    Raises:
        ProblemError: the operator would change an argument, return other than one tensor, or take other than tensors.
    """
    problem, inputs = winner.problem, [spec.name for spec in tensors(winner)]
    outputs, parameters = winner.workloads[0].outputs, [spec.name for spec in winner.workloads[0].parameters]
    if len(outputs) != 1 or outputs[0].name != "output" or problem.mutates:
        raise ProblemError(
            f"{problem.name}: an operator is written only for a reference that returns one tensor and changes no "
            "argument: use --as module"
        )
    operator = _operator(re.sub(r"\W", "_", problem.name), problem.seed.entry, inputs, parameters)
    guard = model_guard(winner, asks_model=False)
    return "\n\n\n".join((kernel_and_reference(winner), guards(winner), guard, operator)) + "\n"


def _operator(name: str, entry: str, inputs: list[str], parameters: list[str]) -> str:
    weights = [f"w_{re.sub(r'[^0-9A-Za-z]', '_', one)}" for one in parameters]
    signature = ", ".join(f"{one}: torch.Tensor" for one in (*inputs, *weights))
    listed, passed = ", ".join(inputs), ", ".join([*inputs, *weights])
    state = "{" + ", ".join(f"{full!r}: {weight}" for full, weight in zip(parameters, weights, strict=True)) + "}"
    return f'''def _without_weights(kind):
    """Make a model of the reference without values of parameters, which are arguments of the operator."""
    given = get_init_inputs()
    with torch.device("meta"):
        return (kind(**given) if isinstance(given, dict) else kind(*given)).eval()


_REFERENCE = _without_weights(Model)


def _further():
    """Return what the kernel takes beside the inputs: names of weights, and constants, by parameter."""
    paths = {{id(one): path for path, one in (*_REFERENCE.named_parameters(), *_REFERENCE.named_buffers())}}
    values = further_arguments({entry}, {tuple(inputs)!r}, _REFERENCE, globals())
    weights = {{name: paths[id(value)] for name, value in values.items() if id(value) in paths}}
    return weights, {{name: value for name, value in values.items() if name not in weights}}


_WEIGHTS, _CONSTANTS = _further()


@torch.library.custom_op("kopt::{name}", mutates_args=())
def _operator({signature}) -> torch.Tensor:
    """Run the kernel, or PyTorch for inputs that it was not verified with."""
    state = {state}
    with torch.no_grad():
        if _verified(({listed},)):
            weights = {{name: state[path] for name, path in _WEIGHTS.items()}}
            result = {entry}({listed}, **weights, **_CONSTANTS)
        else:
            result = torch.func.functional_call(_REFERENCE, state, ({listed},))
    given = ({passed},)
    return result.clone() if any(result.data_ptr() == one.data_ptr() for one in given) else result


@_operator.register_fake
def _({passed}):
    return torch.func.functional_call(_REFERENCE, {state}, ({listed},))


class KernelModel(Model):
    """The reference's `Model`, whose `forward` is the operator where no gradient is asked for."""

    def __init__(self, *given, **named):
        """Make the model as the reference does; one with other constants than the kernel's is run by PyTorch."""
        super().__init__(*given, **named)
        self._has_kernel = _made_as_verified(given, named)

    def forward(self, {listed}):
        """Call the operator, or PyTorch where a gradient is asked for, which the operator does not compute."""
        state = dict((*self.named_parameters(), *self.named_buffers()))
        weights = [state[name] for name in {parameters!r}]
        trained = torch.is_grad_enabled() and any(one.requires_grad for one in ({listed}, *weights))
        if trained or not self._has_kernel:
            return super().forward({listed})
        return torch.ops.kopt.{name}({listed}, *weights)'''


TARGET = Target(".py", "a custom operator, torch.ops.kopt.NAME, that torch.compile calls as one step", write)
