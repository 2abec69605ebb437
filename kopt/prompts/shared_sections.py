"""Write the sections that several requests share: about the run, what the search remembers, and a parent."""

from __future__ import annotations

from kopt.prompts import facts as words
from kopt.prompts.context import Memory, Parent, PromptContext
from kopt.prompts.guidance import triton_guidance
from kopt.prompts.sections import Section, code


def run_sections(context: PromptContext) -> list[Section]:
    """Make the sections that every request of a run begins with."""
    problem = context.problem
    version = _minor(context.triton)
    return [
        Section(name="Reference program", text=code(problem.reference), budget=3000, place="system", middle=True),
        Section(name="Contract", text=words.contract(problem, context.facts), budget=2000, place="system"),
        Section(name="Device", text=words.device(context.device), budget=400, place="system"),
        Section(
            name=f"Writing for Triton {version}", text=triton_guidance(version), budget=1500, place="system", cut=1
        ),
        Section(name="Known techniques", text=words.taxonomy(context), budget=1200, place="system", cut=6),
    ]


def _minor(version: str) -> str:
    """Drop patch level and build from a version: they would change the request and not the kernel."""
    return ".".join(version.split(".")[:2])


def memory_sections(memory: Memory) -> list[Section]:
    """Make the sections of what the search remembers, the same for all slots of a round."""
    return [
        Section(
            name="Recent tries", text=words.history(memory.events), budget=1500, place="stable", cut=2, fence="text"
        ),
        Section(
            name="What was learned", text=words.reflections(memory), budget=1000, place="stable", cut=4, fence="text"
        ),
        Section(name="Techniques in the pool", text=words.pool(memory), budget=500, place="stable", cut=5),
    ]


def parent_sections(context: PromptContext, parent: Parent) -> list[Section]:
    """Make the sections about a parent, the same for all of its slots."""
    build = words.build(parent.build, context.device) if parent.build else ""
    profile = words.profile(parent.profile) if parent.profile else ""
    return [
        Section(name="Kernel to improve", text=code(parent.kernel.source), budget=10_000, place="stable", middle=True),
        Section(name="Its time", text=words.times(parent.times), budget=400, place="stable"),
        Section(name="Its techniques", text=words.parent_techniques(parent), budget=200, place="stable", cut=7),
        Section(name="Its build", text=build, budget=1200, place="stable", cut=9),
        Section(name="Its profile", text=profile, budget=1500, place="stable", cut=8),
    ]
