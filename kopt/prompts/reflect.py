"""Write the prompt that asks for the lessons of a round, and read its answer."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from kopt.model.base import Value
from kopt.prompts import facts as words
from kopt.prompts.context import Event, Memory, ParentTimes, PromptContext, Reflection
from kopt.prompts.sections import Prompt, Section, assemble

TEMPLATE = "reflect/3"

TOTAL_TOKENS = 12_000

OPENING = """\
You are an expert in GPU performance who looks back on a round of attempts to make a Triton kernel faster. Draw the \
lessons that will help the next round's programmers, who see nothing but your lessons and the best kernels."""

ANSWER = """\
Be specific: name techniques, tile sizes, launch parameters and the numbers that speak for or against them. At most \
five items in each list, one sentence each. Do not praise; leave a list empty rather than guess.

Answer with JSON only:
{"worked": ["..."], "failed": ["what failed and why"], "advice": ["what to try next, most promising first"]}"""

LISTS = ("worked", "failed", "advice")


class Answer(Value):
    """The model's answer."""

    worked: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def reflect(context: PromptContext, round: int, events: Sequence[Event], best: ParentTimes, memory: Memory) -> Prompt:
    """Ask for the lessons of one round.

    Args:
        context: the values that all prompts of the run share.
        round: the round that just ended.
        events: all of its candidates, best first.
        best: times of the best kernel so far.
        memory: the lessons of earlier rounds, newest first; its events are not shown.

    Sections are left out in this order when the prompt is too long: techniques of the pool, earlier lessons, the
    reference.
    """
    sections = [
        Section(
            name="Reference program", text=context.problem.reference, budget=1500, place="system", cut=3, fence="python"
        ),
        Section(name="Device", text=words.device(context.device), budget=400, place="system"),
        Section(name="Earlier lessons", text=words.reflections(memory), budget=1200, place="own", cut=2, fence="text"),
        Section(name="Techniques in the pool", text=words.pool(memory), budget=500, place="own", cut=1),
        Section(name="Best kernel's time", text=words.times(best), budget=400, place="own"),
        Section(name=f"Tries of round {round}", text=words.history(events), budget=6000, place="own", fence="text"),
        Section(name="Answer", text=ANSWER, budget=400, place="own"),
    ]
    return assemble(TEMPLATE, OPENING, sections, TOTAL_TOKENS, schema_name="reflection", output_schema=schema())


def schema() -> dict[str, JsonValue]:
    """Make the JSON schema of the answer."""
    texts: dict[str, JsonValue] = {"type": "array", "items": {"type": "string"}}
    return {
        "type": "object",
        "properties": dict.fromkeys(LISTS, texts),
        "required": [*LISTS],
        "additionalProperties": False,
    }


def reflection(answer: Answer, round: int) -> Reflection:
    """Read the answer as a reflection: at most five items a list, one line each."""
    lists = {name: tuple(_line(item) for item in getattr(answer, name)[:5] if item.strip()) for name in LISTS}
    return Reflection(round=round, **lists)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 400 else line[:397] + "..."
