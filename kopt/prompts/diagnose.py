"""Write the prompt that asks what limits a kernel, and read its answer."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, JsonValue

from kopt.model.base import Value
from kopt.model.diagnosis import Direction
from kopt.prompts.context import Memory, Parent, PromptContext
from kopt.prompts.sections import Prompt, Section, assemble
from kopt.prompts.shared_sections import memory_sections, parent_sections, run_sections

TEMPLATE = "diagnose/5"

TOTAL_TOKENS = 22_000

OPENING = """\
You are an expert in GPU performance. You are given a Triton kernel with its time, build facts and profile. Say what \
limits it, as ranked directions that programmers will follow independently of each other."""


class AnsweredDirection(Value):
    """One direction as the model writes it."""

    bottleneck: str = Field(min_length=1)
    cause: str = ""
    direction: str = Field(min_length=1)
    techniques: tuple[str, ...] = ()


class Answer(Value):
    """The model's answer."""

    directions: tuple[AnsweredDirection, ...]


def diagnose(context: PromptContext, parent: Parent, memory: Memory, count: int) -> Prompt:
    """Ask for `count` ranked, different directions for one parent.

    Sections are left out in this order when the prompt is too long: Triton guidance, history, reflections, techniques
    of the pool, the taxonomy, counters, build facts.
    """
    sections = [
        *run_sections(context),
        *memory_sections(memory),
        *parent_sections(context, parent),
        Section(name="Answer", text=_answer(count), budget=700, place="own"),
    ]
    schema = schema_of([technique.name for technique in context.techniques])
    return assemble(TEMPLATE, OPENING, sections, TOTAL_TOKENS, schema_name="diagnosis", output_schema=schema)


def _answer(count: int) -> str:
    return f"""\
Give exactly {count} directions, the most promising first. They must differ in kind: each attacks another bottleneck, \
or the same one by a means that shares nothing with the others. Base each on a number above and quote it. Do not \
propose what the history shows to have failed, unless you say what would be different.

Answer with JSON only:
{{"directions": [{{"bottleneck": "short_name", "cause": "the fact with its number", \
"direction": "what to do, concretely: which loop, which tile sizes, which launch parameters", \
"techniques": ["names from the known techniques, or none"]}}]}}"""


def schema_of(techniques: Sequence[str]) -> dict[str, JsonValue]:
    """Make the JSON schema of the answer."""
    names: dict[str, JsonValue] = {"type": "string", "enum": [*techniques]} if techniques else {"type": "string"}
    text: dict[str, JsonValue] = {"type": "string"}
    fields: dict[str, JsonValue] = {
        "bottleneck": text,
        "cause": text,
        "direction": text,
        "techniques": {"type": "array", "items": names},
    }
    direction: dict[str, JsonValue] = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"directions": {"type": "array", "items": direction}},
        "required": ["directions"],
        "additionalProperties": False,
    }


def directions(answer: Answer, count: int, techniques: tuple[str, ...]) -> tuple[Direction, ...]:
    """Read the answer as at most `count` ranked, different directions; unknown techniques are dropped.

    Two directions are alike when they name the same bottleneck with the same techniques, or have the same words.
    """
    seen: set[tuple[str, ...]] = set()
    ranked: list[Direction] = []
    for answered in answer.directions:
        names = tuple(name for name in techniques if name in answered.techniques)
        marks = {("words", _plain(answered.direction)), ("bottleneck", _plain(answered.bottleneck), *names)}
        if not marks & seen and len(ranked) < count:
            ranked.append(
                Direction(
                    rank=len(ranked) + 1,
                    bottleneck=_line(answered.bottleneck, 60),
                    cause=_line(answered.cause, 300),
                    direction=_line(answered.direction, 1200),
                    techniques=names,
                )
            )
        seen |= marks
    return tuple(ranked)


def _plain(text: str) -> str:
    return "".join(sign for sign in text.lower() if sign.isalnum())


def _line(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
