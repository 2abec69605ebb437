"""Make the problem of a reference's gradient: inputs and the gradient of the output in, gradients out.

The new reference differentiates the given one with `torch.autograd.grad`.  The judge computes it in float64 as it does
any reference, so that a kernel is compared with autograd in float64.  What autograd keeps between the two passes is not
passed to the kernel, which computes it anew from the inputs, but for outputs of the forward pass that are named: these
become inputs.  The new reference has autograd read such an input where it would read what it kept, and its
`saved_inputs` computes the input from the others whenever inputs are drawn, so that all agree.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
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


def gradient_of(draft: Draft, wanted: Sequence[str] = (), saved: Sequence[str] = ()) -> Derived:
    """Return the problem of the gradient of a draft's reference.

    Runs the reference: call it in the cage.

    Args:
        draft: the forward pass; its seed kernel is left out.
        wanted: names of inputs and parameters to differentiate for; none: all that have a gradient.
        saved: names of outputs of the forward pass that are given to the kernel.

    Raises:
        ProblemError: the reference has no gradient, or none for what is wanted, or autograd does not keep what is to be
            saved.
    """
    from kopt.device.reference.gradients import gradients_of  # here, because it imports torch
    from kopt.device.reference.trial import given_dtype, is_mixed

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
    given = _saved(draft, found, saved)
    if given:
        found, note = _without_gradients_of(found, given)
        notes.append(note)
    text = _reference(source, found, forward, parameters, given)
    dtype = draft.dtype or (None if is_mixed(whole) else given_dtype(whole))
    made = draft.model_copy(
        update={"reference": text, "seed": "", "kernels": {}, "dtype": dtype, "inputs": {}, "mutates": (), "floor": {},
                "tolerance": None, "notes": (*draft.notes, *notes)}
    )  # fmt: skip
    return derived(made)


def _saved(draft: Draft, found: Gradients, names: Sequence[str]) -> dict[str, str]:
    """Return the saved outputs, as expressions of the result, by the names of the inputs that they become.

    Raises:
        ProblemError: a name is no output, or autograd does not keep that output.
    """
    by_name = {expression.replace(RESULT, "output"): expression for expression in found.results}
    by_name |= dict(zip(_returned_names(draft.reference, len(found.results)), found.results, strict=False))
    given: dict[str, str] = {}
    for name in names:
        if name not in by_name:
            raise ProblemError(f"{draft.name}: --save {name}: the outputs are {', '.join(by_name)}")
        if by_name[name] not in found.kept:
            kept = [own for own, expression in by_name.items() if expression in found.kept]
            others = f"; it keeps {', '.join(kept)}" if kept else " nor any other output"
            raise ProblemError(
                f"{draft.name}: --save {name}: autograd does not keep this output for the backward pass{others}"
            )
        word = name.replace("[", "_").replace("]", "")
        given[word if word not in (*found.names, *given) else f"{word}_saved"] = by_name[name]
    return given


def _returned_names(source: str, count: int) -> list[str]:
    """Return the names under which `forward` returns its outputs; none where it returns other expressions."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    returns = [
        node.value
        for function in functions
        if function.name == "forward"
        for node in ast.walk(function)
        if isinstance(node, ast.Return)
    ]
    if len(returns) != 1 or returns[0] is None:
        return []
    parts = returns[0].elts if isinstance(returns[0], ast.Tuple | ast.List) else [returns[0]]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) == count else []


def _without_gradients_of(found: Gradients, given: Mapping[str, str]) -> tuple[Gradients, str]:
    """Leave out the gradients of saved outputs, which are statistics, where there are other outputs; say so."""
    others = tuple(output for output in found.outputs if output not in given.values())
    note = f"given to the kernel: {', '.join(given)}, computed from the other inputs whenever inputs are drawn"
    if not others or len(others) == len(found.outputs):
        return found, note
    return replace(found, outputs=others), f"{note}; no gradient comes from what is saved"


def _reference(
    source: str, found: Gradients, forward: Sequence[str], parameters: Sequence[str], given: Mapping[str, str]
) -> str:
    """Write the reference whose `Model` returns gradients.

    Args:
        source: of the forward pass.
        found: names of its arguments and outputs, and how they are made.
        forward: names of the inputs to differentiate for.
        parameters: names of the parameters to differentiate for.
        given: saved outputs by the names of their inputs.
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
            f"    def forward(self, {', '.join([*found.names, *given, *grads])}):",
            *(_READING_SAVED if given else ["        with torch.enable_grad():"]),
            *(f"            {name} = {name}.detach().requires_grad_()" for name in forward),
            "            state = {",
            "                name: parameter.detach().requires_grad_()",
            "                for name, parameter in self.forward_model.named_parameters()",
            "            }",
            f"            {RESULT} = torch.func.functional_call(self.forward_model, state, ({_listed(found.names)}))",
            *(f"            saved.append(({made}, {name}))" for name, made in given.items()),
            "            gradients = torch.autograd.grad(",
            f"                ({_listed(found.outputs)}),",
            f"                ({_listed([*forward, *(f'state[{name!r}]' for name in parameters)])}),",
            f"                ({_listed(grads)}),",
            "            )",
            f"        return gradients{'[0]' if len(chosen) == 1 else ''}", "", "",
            *_get_inputs(given, grads, found), "",
            *(_saved_inputs(found.names, given, grads) if given else []),
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


_READING_SAVED = [
    "        saved = []", "",
    "        def unpacked(kept):",
    '            """Return what autograd kept, or the input that stands for it."""',
    "            for made, given in saved:",
    "                same = kept.untyped_storage()._cdata == made.untyped_storage()._cdata",
    "                if same and kept.shape == made.shape:",
    "                    return given",
    "            return kept", "",
    "        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, unpacked):",
]  # fmt: skip


def _saved_inputs(names: Sequence[str], given: Mapping[str, str], grads: Sequence[str]) -> list[str]:
    """Return the lines of `saved_inputs`."""
    return [
        "", "def saved_inputs(model, inputs):",
        f'    """Return the inputs with {", ".join(given)} as the forward pass gives it for the others."""',
        f"    {_listed([*names, *given, *grads])} = inputs",
        "    with torch.no_grad():",
        f"        {RESULT} = model.forward_model({', '.join(names)})",
        f"    return [{', '.join([*names, *given.values(), *grads])}]", "",
    ]  # fmt: skip


def _get_inputs(given: Mapping[str, str], grads: Sequence[str], found: Gradients) -> list[str]:
    """Return the lines of `get_inputs`: the forward pass is run once, since the gradients have its outputs' shapes."""
    stars = {"several": "*", "named": "**", "single": ""}
    drawn = [*given.values(), *(f"torch.randn_like({output})" for output in found.outputs)]
    added = [*given, *grads]
    results = {
        "several": f"[*inputs, {', '.join(drawn)}]",
        "named": f"{{**inputs, {', '.join(f'{grad!r}: {value}' for grad, value in zip(added, drawn, strict=True))}}}",
        "single": f"[inputs, {', '.join(drawn)}]",
    }
    mode = "train" if found.training is None else "eval"
    return [
        "def get_inputs():",
        "    inputs = forward_inputs()",
        f"    forward = Forward({stars[found.init_form]}get_init_inputs()).{mode}()",
        *(_TRAINING.format(found.training).splitlines() if found.training else []),
        "    with torch.no_grad():",
        f"        {RESULT} = forward({stars[found.inputs_form]}inputs)",
        f"    return {results[found.inputs_form]}",
    ]


_TRAINING = """\
    for name in {}:
        forward.get_submodule(name).training = True"""


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts) + ("," if len(texts) == 1 else "")
