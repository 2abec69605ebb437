"""Write the prompt that asks for a faster kernel."""

from __future__ import annotations

from kopt.prompts import facts as words
from kopt.prompts.context import Assignment, Memory, Parent, PromptContext
from kopt.prompts.sections import Prompt, Section, assemble
from kopt.prompts.shared_sections import memory_sections, parent_sections, run_sections

TEMPLATE = "propose/5"

TOTAL_TOKENS = 24_000
"""Most tokens of the prompt."""

OPENING = """\
You are an expert in GPU performance who writes Triton kernels. You are given a correct kernel, what limits it, and \
one direction to follow. Write a faster kernel that computes the same.

Correctness comes first: a fast wrong kernel is worth nothing. It is judged on fresh inputs and other shapes by a \
program that compares with a float64 reference and looks for shortcuts."""

ANSWER = """\
Follow the direction of this request; make the change real, not a matter of names or comments. If the direction cannot \
help, say why in one sentence and do the most promising thing near it.

Answer with one short paragraph that says what you changed and why it should be faster, then the whole module in one \
```python block, complete and ready to run, with nothing left out."""


def propose(context: PromptContext, parent: Parent, memory: Memory, assignment: Assignment) -> Prompt:
    """Ask for a child of `parent` that follows the slot's direction.

    Sections are left out in this order when the prompt is too long: Triton guidance, history, reflections, techniques
    of the pool, the taxonomy, counters, build facts.  Contract, reference, source, time and direction always stay.
    """
    sections = [*run_sections(context), *memory_sections(memory), *parent_sections(context, parent)]
    own = [
        Section(name="Your direction", text=_direction(assignment), budget=800, place="own", fence="text"),
        Section(name="Left to others", text=_others(assignment), budget=500, place="own", cut=3, fence="text"),
        Section(name="Answer", text=_answer(assignment), budget=500, place="own"),
    ]
    return assemble(TEMPLATE, OPENING, [*sections, *own], TOTAL_TOKENS)


def _direction(assignment: Assignment) -> str:
    return words.direction(assignment.direction)


def _others(assignment: Assignment) -> str:
    return "\n".join(f"- {words.direction(direction)}" for direction in assignment.others)


def _answer(assignment: Assignment) -> str:
    lines = [ANSWER]
    if assignment.samples > 1:
        lines.append(
            f"This is attempt {assignment.sample + 1} of {assignment.samples} independent ones with the same "
            "direction: do not settle for the most obvious parameters."
        )
    if assignment.avoid:
        lines.append(
            f"The pool has enough kernels built on {', '.join(assignment.avoid)}: reach your speed by other means."
        )
    return "\n\n".join(lines)
