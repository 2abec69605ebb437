"""Make the problem of a reference's gradient: inputs and the gradient of the output in, gradients out.

The new reference differentiates the given one with `torch.autograd.grad`.  The judge computes it in float64 as it does
any reference, so that a kernel is compared with autograd in float64.  What autograd would save between the two passes
is not passed to the kernel: it computes it anew from the inputs.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem
from kopt.problem.derive import Derived, derived
from kopt.problem.draft import GIVEN, Draft
from kopt.problem.literals import literals, named
from kopt.problem.source import defined

if TYPE_CHECKING:
    from kopt.device.reference.gradients import Gradients

RENAMED = {"Model": "Forward", "get_inputs": "forward_inputs"}
"""Names of the forward pass in the new reference."""

RESULT = "result_"


def gradient_of(draft: Draft, wanted: Sequence[str] = ()) -> Derived:
    """Return the problem of the gradient of a draft's reference.

    Runs the reference: call it in the cage.

    Args:
        draft: the forward pass; its seed kernel is left out.
        wanted: names of inputs and parameters to differentiate for; none: all that have a gradient.

    Raises:
        ProblemError: the reference has no gradient, or none for what is wanted.
    """
    from kopt.device.reference.gradients import gradients_of  # here, because it imports torch
    from kopt.device.reference.trial import given_dtype

    if taken := sorted(set(RENAMED.values()) & defined(ast.parse(draft.reference))):
        raise ProblemError(
            f"{draft.name}: the reference defines {taken[0]} itself, a name of the gradient's: rename it"
        )
    whole = Problem(
        name=draft.name, reference=draft.reference, seed=Kernel(source=""), dtype=draft.dtype or Dtype.FLOAT32,
        main=(GIVEN,), small=(GIVEN,),
    )  # fmt: skip
    found = gradients_of(whole, RESULT)
    has = (*found.inputs, *found.parameters)
    if missing := [name for name in wanted if name not in has]:
        raise ProblemError(f"{draft.name}: {missing[0]!r} has no gradient; {', '.join(has)} have one")
    chosen = [name for name in has if not wanted or name in wanted]
    notes = [f"no gradient: {', '.join(found.without)}: no output depends on them"] if found.without else []
    if draft.seed:
        notes.append("the kernel that came with the reference computes the forward pass, and is left out")
    source = named(draft.reference, [literal.name for literal in literals(draft.reference)])
    forward = [name for name in found.inputs if name in chosen]
    parameters = [name for name in found.parameters if name in chosen]
    text = _reference(source, found, forward, parameters)
    dtype = draft.dtype or given_dtype(whole)
    made = draft.model_copy(
        update={"reference": text, "seed": "", "kernels": {}, "dtype": dtype, "inputs": {}, "mutates": (), "floor": {},
                "tolerance": None, "notes": (*draft.notes, *notes)}
    )  # fmt: skip
    return derived(made)


def _reference(source: str, found: Gradients, forward: Sequence[str], parameters: Sequence[str]) -> str:
    """Write the reference whose `Model` returns gradients.

    Args:
        source: of the forward pass.
        found: names of its arguments and outputs, and how they are made.
        forward: names of the inputs to differentiate for.
        parameters: names of the parameters to differentiate for.
    """
    count, chosen = len(found.outputs), [*forward, *parameters]
    grads = [f"grad_output_{at}" for at in range(count)] if count > 1 else ["grad_output"]
    return renamed(source).rstrip() + "\n\n\n" + "\n".join(
        [
            "import torch", "from torch import nn", "", "",
            "class Model(nn.Module):",
            f'    """Gradients of Forward for {", ".join(chosen)}."""', "",
            "    def __init__(self, *args, **named):",
            "        super().__init__()",
            "        self.forward_model = Forward(*args, **named)", "",
            f"    def forward(self, {', '.join([*found.names, *grads])}):",
            "        with torch.enable_grad():",
            *(f"            {name} = {name}.detach().requires_grad_()" for name in forward),
            "            state = {",
            "                name: parameter.detach().requires_grad_()",
            "                for name, parameter in self.forward_model.named_parameters()",
            "            }",
            f"            {RESULT} = torch.func.functional_call(self.forward_model, state, ({_listed(found.names)}))",
            "            gradients = torch.autograd.grad(",
            f"                ({_listed(found.outputs)}),",
            f"                ({_listed([*forward, *(f'state[{name!r}]' for name in parameters)])}),",
            f"                ({_listed(grads)}),",
            "            )",
            f"        return gradients{'[0]' if len(chosen) == 1 else ''}", "", "",
            *_get_inputs(found.names, found.outputs, grads, found.inputs_form, found.init_form), "",
        ]
    )  # fmt: skip


def renamed(source: str) -> str:
    """Return the source with other names for the forward pass; attributes of such names stay."""
    lines = source.splitlines(keepends=True)
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type != tokenize.NL]
    for before, token in reversed(list(zip([tokens[0], *tokens], tokens, strict=False))):
        if token.type == tokenize.NAME and token.string in RENAMED and before.string != ".":
            row, start = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:start] + RENAMED[token.string] + line[token.end[1] :]
    return "".join(lines)


def _get_inputs(
    names: Sequence[str], outputs: Sequence[str], grads: Sequence[str], inputs_form: str, init_form: str
) -> list[str]:
    """Return the lines of `get_inputs`: the forward pass is run once, since the gradients have its outputs' shapes."""
    stars = {"several": "*", "named": "**", "single": ""}
    made = f"Forward({stars[init_form]}get_init_inputs()).eval()"
    drawn = [f"torch.randn_like({output})" for output in outputs]
    results = {
        "several": f"[*inputs, {', '.join(drawn)}]",
        "named": f"{{**inputs, {', '.join(f'{grad!r}: {value}' for grad, value in zip(grads, drawn, strict=True))}}}",
        "single": f"[inputs, {', '.join(drawn)}]",
    }
    return [
        "def get_inputs():",
        "    inputs = forward_inputs()",
        "    with torch.no_grad():",
        f"        {RESULT} = {made}({stars[inputs_form]}inputs)",
        f"    return {results[inputs_form]}",
    ]


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts) + ("," if len(texts) == 1 else "")
