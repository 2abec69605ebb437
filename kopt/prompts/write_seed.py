"""Write the prompt that asks for a first kernel of a problem, from its reference alone."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.prompts.context import PromptContext
from kopt.prompts.sections import Prompt, Section, assemble, code
from kopt.prompts.shared_sections import run_sections

TEMPLATE = "write_seed/1"

TOTAL_TOKENS = 20_000

OPENING = """\
You are an expert in GPU performance who writes Triton kernels. You are given a reference program in PyTorch, and no \
kernel yet. Write a plain, correct Triton kernel that computes the same: a search starts from it and makes it faster.

Correctness is all that counts here. The kernel is judged on fresh inputs and other shapes by a program that compares \
with a float64 reference and looks for shortcuts."""

ANSWER = """\
Think of every size as a variable, mask every load and store at ragged edges, accumulate in float32, and compute with \
Triton alone: torch may only make memory and change views. Say in one sentence how the kernel works. Then give the \
whole module in one ```python block, complete and ready to run, with nothing left out."""


class FailedSeed(Value):
    """A first kernel that failed, and how."""

    phase: str
    """E.g. `compile`, `incorrect`, `no_code`."""
    reason: str
    """The error, a few lines."""
    draft: str = ""
    """The source that failed, or the part of it that the reply holds; empty where it holds none."""


def write_seed(context: PromptContext, failed: FailedSeed | None = None) -> Prompt:
    """Ask for a first kernel, or for the repair of one that failed.

    Sections are left out in this order when the prompt is too long: Triton guidance, the taxonomy.
    """
    sections = [
        *run_sections(context),
        Section(name="What failed", text=_draft(failed), budget=9000, place="own", middle=True),
        Section(name="Error", text=_error(failed), budget=1500, place="own", middle=True),
        Section(name="Answer", text=ANSWER, budget=300, place="own"),
    ]
    return assemble(TEMPLATE, OPENING, sections, TOTAL_TOKENS)


def _draft(failed: FailedSeed | None) -> str:
    return code(failed.draft) if failed and failed.draft else ""


def _error(failed: FailedSeed | None) -> str:
    if failed is None:
        return ""
    what = "The kernel was rejected" if failed.draft else "The reply held no code"
    return f"{what} ({failed.phase}):\n{code(failed.reason, 'text')}"
