"""Write the prompt that asks which techniques a kernel uses, and read its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.technique import Evidence, Technique
from kopt.prompts import facts as words
from kopt.prompts.sections import Prompt, Section, assemble, code

TEMPLATE = "classify/2"

TOTAL_TOKENS = 18_000

OPENING = """\
You classify Triton kernels by the optimisation techniques they use. A technique counts only if this kernel's code \
uses it for the main computation: not if it could, and not if a comment or a name says so."""


def classify(
    source: str, asked: Sequence[Technique], *, decided: Mapping[str, bool], build: Built | None, device: Device
) -> Prompt:
    """Ask whether a kernel uses each of the `asked` techniques.

    Args:
        source: the kernel's module.
        asked: techniques that facts do not decide; all of them when there are no facts.
        decided: techniques that facts of source and PTX decide, shown so that the answers fit together.
        build: the kernel's build, or None.
        device: the GPU that the kernel was built for.

    Sections are left out in this order when the prompt is too long: build facts, what is decided.
    """
    sections = [
        Section(name="Techniques", text=_listed(asked), budget=3000, place="system"),
        Section(name="Answer", text=_answer(asked), budget=600, place="system"),
        Section(name="Kernel", text=code(source), budget=10_000, place="own", middle=True),
        Section(name="Build", text=words.build(build, device) if build else "", budget=1000, place="own", cut=1),
        Section(name="Known from source and PTX", text=_decided(decided), budget=400, place="own", cut=2),
    ]
    schema = schema_of([technique.name for technique in asked])
    return assemble(TEMPLATE, OPENING, sections, TOTAL_TOKENS, schema_name="techniques", output_schema=schema)


def _listed(asked: Sequence[Technique]) -> str:
    return "\n".join(
        f"- {technique.name}: {technique.description} Look for: {technique.llm_hint}" for technique in asked
    )


def _decided(decided: Mapping[str, bool]) -> str:
    return "\n".join(f"- {name}: {'used' if held else 'not used'}" for name, held in sorted(decided.items()))


def _answer(asked: Sequence[Technique]) -> str:
    example = asked[0].name if asked else "technique"
    return (
        "Answer with JSON only: an object with every technique above by its name, "
        "`present` true or false, and `where` the line of source that shows it (empty when absent):\n"
        f'{{"{example}": {{"present": true, "where": "the line"}}, ...}}'
    )


def schema_of(names: Sequence[str]) -> dict[str, JsonValue]:
    """Make the JSON schema of the answer: it requires every technique by name, so that none can be forgotten."""
    fields: dict[str, JsonValue] = {"present": {"type": "boolean"}, "where": {"type": "string"}}
    entry: dict[str, JsonValue] = {
        "type": "object",
        "properties": fields,
        "required": [*fields],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": dict.fromkeys(names, entry),
        "required": [*names],
        "additionalProperties": False,
    }


def evidence(answer: Mapping[str, object], flags: Mapping[str, bool], source: str) -> tuple[Evidence, ...]:
    """Read where the model saw each technique: `source:<line>` when its quote is a line of the source, else `model`.

    Args:
        answer: the answer's JSON object.
        flags: the answer read as yes or no by name.
        source: the kernel's module.
    """
    seen = []
    for name, held in flags.items():
        entry = answer.get(name)
        quote = entry.get("where") if held and isinstance(entry, dict) else None
        if isinstance(quote, str) and quote.strip():
            seen.append(Evidence(technique=name, where=_place(quote, source), what=" ".join(quote.split())[:200]))
    return tuple(seen)


def _place(quote: str, source: str) -> str:
    wanted = "".join(quote.split())
    lines = ("".join(line.split()) for line in source.splitlines())
    return next((f"source:{n}" for n, line in enumerate(lines, 1) if wanted and wanted in line), "model")
