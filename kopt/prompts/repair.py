"""Write the prompt that sends a failed kernel back with its error."""

from __future__ import annotations

from typing import Literal

from kopt.model.base import Value
from kopt.prompts.context import Assignment, Parent, PromptContext
from kopt.prompts.sections import Prompt, Section, assemble, code
from kopt.prompts.shared_sections import run_sections

TEMPLATE = "repair/5"

TOTAL_TOKENS = 22_000

OPENING = """\
You are an expert in GPU performance who writes Triton kernels. A kernel that should be faster than its parent failed. \
Find the cause, repair it, and keep what was meant to make it fast."""

ANSWER = """\
Say in one sentence what was wrong. Then give the whole repaired module in one ```python block, complete and ready to \
run. If the idea itself cannot work, carry out its nearest workable form instead; never fall back to torch for the \
arithmetic."""


class FailedProposal(Value):
    """A proposal that failed, and how."""

    stage: Literal["reply", "build", "verdict"]
    """`reply`: the reply held no kernel; `build`: the kernel did not trace or compile; `verdict`: it ran and failed."""
    phase: str
    """E.g. `compile`, `incorrect`, `truncated`."""
    reason: str
    """The error, a few lines."""
    draft: str = ""
    """The source that failed, or the part of it that the reply holds."""
    description: str = ""
    """Description of the change that the proposal made."""


def repair(
    context: PromptContext, parent: Parent, assignment: Assignment, failed: FailedProposal, attempt: int, most: int
) -> Prompt:
    """Ask for the repair of a failed child of `parent`.

    Args:
        context: the values that all prompts of the run share.
        parent: the kernel that the child was made from.
        assignment: the assignment of the slot.
        failed: the child, and how it failed.
        attempt: number of this repair, from 1.
        most: number of repairs that a slot gets.

    Sections are left out in this order when the prompt is too long: Triton guidance, the taxonomy, the parent's source.
    """
    sections = [
        *run_sections(context),
        Section(
            name="Its parent, which is correct",
            text=code(parent.kernel.source),
            budget=6000,
            place="stable",
            cut=7,
            middle=True,
        ),
        Section(name="What was asked", text=_asked(assignment, failed), budget=700, place="own", fence="text"),
        Section(name="What failed", text=_draft(failed), budget=9000, place="own", middle=True),
        Section(name="Error", text=_error(failed, attempt, most), budget=1500, place="own", middle=True),
        Section(name="Answer", text=ANSWER, budget=300, place="own"),
    ]
    return assemble(TEMPLATE, OPENING, sections, TOTAL_TOKENS)


def _asked(assignment: Assignment, failed: FailedProposal) -> str:
    lines = [f"Direction: {assignment.direction.direction}"]
    if failed.description:
        lines.append(f"What the failed kernel set out to do: {failed.description}")
    return "\n".join(lines)


WITHOUT_DRAFT = {"unchanged": "Its reply gave back a kernel that it had been shown, unchanged."}
"""What a reply held that gave no source of its own, by phase."""


def _draft(failed: FailedProposal) -> str:
    return code(failed.draft) if failed.draft else WITHOUT_DRAFT.get(failed.phase, "Its reply held no code.")


STAGES = {
    "reply": "The reply could not be used",
    "build": "It was rejected when it was traced and compiled",
    "verdict": "It was built, ran, and was rejected",
}


def _error(failed: FailedProposal, attempt: int, most: int) -> str:
    return f"{STAGES[failed.stage]} ({failed.phase}), repair {attempt} of {most}:\n{code(failed.reason, 'text')}"
