"""Read the JSON object in a reply: total functions of text that never raise.

A provider that enforces a schema returns plain JSON.  Others return it fenced, with prose around it, trailing commas,
comments or Python's literals.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, JsonValue, ValidationError

from kopt.errors import with_place
from kopt.llm.reply import Empty, Refused, Reply, Truncated, Unanswered, encodable
from kopt.llm.text.answer import no_answer, without_reasoning
from kopt.model.base import Value

M = TypeVar("M", bound=BaseModel)

LONGEST = 100_000
"""Characters of a reply that are searched for an object."""

MOST_BRACES = 50
"""Opening braces of a reply that are tried."""

JsonObject = dict[str, JsonValue]


class NoJson(StrEnum):
    """Why a reply holds no usable JSON object."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    NO_OBJECT = "no_object"
    WRONG_SHAPE = "wrong_shape"
    """The reply holds an object without the requested names or types."""


class Read(Value):
    """The JSON object in a reply."""

    status: Literal["read"] = "read"
    value: JsonObject


class NotRead(Value):
    """A reply without a usable JSON object."""

    status: Literal["not_read"] = "not_read"
    reason: NoJson
    detail: str
    """Description in one line, for people."""


Reading = Annotated[Read | NotRead, Field(discriminator="status")]


def object_of(reply: Reply) -> Read | NotRead:
    """Return the JSON object in a reply; in a truncated reply too, when the object is whole."""
    if isinstance(reply, Unanswered):
        return NotRead(reason=NoJson.UNANSWERED, detail=no_answer(reply))
    if isinstance(reply, Refused):
        return NotRead(reason=NoJson.REFUSED, detail=no_answer(reply))
    if detail := no_answer(reply):
        return NotRead(reason=NoJson.TRUNCATED if isinstance(reply, Truncated) else NoJson.EMPTY, detail=detail)
    assert not isinstance(reply, Empty)
    value = object_in(without_reasoning(reply.text))
    if value is not None:
        return Read(value=value)
    if isinstance(reply, Truncated):
        return NotRead(reason=NoJson.TRUNCATED, detail=f"the reply was cut off ({reply.stop}) inside its JSON")
    return NotRead(reason=NoJson.NO_OBJECT, detail="the reply holds no JSON object")


def value_of(reply: Reply, model: type[M]) -> M | NotRead:
    """Return the JSON object in a reply as a checked value; unknown fields are ignored."""
    read = object_of(reply)
    if isinstance(read, NotRead):
        return read
    try:
        return model.model_validate({name: read.value[name] for name in model.model_fields if name in read.value})
    except ValidationError as error:
        detail = with_place(error.errors(include_url=False, include_input=False)[0])
        return NotRead(reason=NoJson.WRONG_SHAPE, detail=detail)


def flags_of(reply: Reply, names: Iterable[str]) -> dict[str, bool] | NotRead:
    """Return yes or no for each name, from an object of booleans by name or a list of the names that hold.

    Names are compared without case, spaces, dashes or underscores.  Names that the reply does not mention are absent
    from the result; a reply that mentions none is not usable.
    """
    read = object_of(reply)
    if isinstance(read, NotRead):
        return read
    wanted = {_plain(name): name for name in names}
    flags = _flags(read.value, wanted)
    if flags is None:
        return NotRead(reason=NoJson.WRONG_SHAPE, detail=f"none of {len(wanted)} names stands in the reply's JSON")
    return {name: flags[name] for name in wanted.values() if name in flags}


def _flags(value: JsonValue, wanted: Mapping[str, str]) -> dict[str, bool] | None:
    """Return the flags in a value or in the objects and lists within it, by name; None where there are none.

    Args:
        value: any JSON.
        wanted: names by their plain spelling.
    """
    if isinstance(value, dict):
        here = {
            wanted[key]: flag
            for raw, v in value.items()
            if (key := _plain(raw)) in wanted and (flag := _flag(v)) is not None
        }
        if here:
            return here
        return next((flags for v in value.values() if (flags := _flags(v, wanted)) is not None), None)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        held = {_plain(str(v)) for v in value}
        return {name: key in held for key, name in wanted.items()} if held & wanted.keys() else None
    if isinstance(value, list):
        named: JsonObject = {str(v["name"]): v for v in value if isinstance(v, dict) and isinstance(v.get("name"), str)}
        return _flags(named, wanted) if named else None
    return None


def _flag(value: JsonValue) -> bool | None:
    """Return what a value says, in any of the ways in which models say yes and no; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(
            value.strip().lower()
        )
    if isinstance(value, dict):
        keys = ("present", "used", "uses", "value", "holds", "answer")
        return next((flag for key in keys if (flag := _flag(value.get(key))) is not None), None)
    return None


def _plain(name: str) -> str:
    """Return a name without case, spaces, dashes and underscores."""
    return re.sub(r"[\s_\-]+", "", name).lower()


def object_in(text: str) -> JsonObject | None:
    """Return the JSON object in a text: the last of the largest ones that can be read, or None."""
    best: JsonObject | None = None
    size = 0
    for piece in _pieces(text[:LONGEST]):
        value = _loads(piece)
        if value is not None and len(piece) >= size:
            best, size = value, len(piece)
    return best


def _pieces(text: str) -> Iterator[str]:
    """Yield the outermost balanced `{...}` of a text; braces in strings do not count, those of prose are skipped."""
    start, tried = text.find("{"), 0
    while start >= 0 and tried < MOST_BRACES:
        end = _balanced(text, start)
        if end is None:
            start = text.find("{", start + 1)
        else:
            piece = text[start:end]
            yield piece
            inside = start + 1 if _loads(piece) is None else end
            start = text.find("{", inside)
        tried += 1


def _balanced(text: str, start: int) -> int | None:
    """Return the place after the brace that closes the one at `start`, or None."""
    depth, quote, escaped = 0, False, False
    for place in range(start, len(text)):
        sign = text[place]
        if quote:
            quote = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quote = True
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            if depth == 0:
                return place + 1
    return None


def _loads(piece: str) -> JsonObject | None:
    """Read a piece as JSON, else without comments and trailing commas, else as a Python literal."""
    for read in (json.loads, _loads_lax, ast.literal_eval):
        try:
            value = read(piece)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return _json_only(value)
    return None


COMMENT_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|#[^\n]*|,(?=\s*[}\]])', re.DOTALL)


def _loads_lax(piece: str) -> object:
    """Read JSON without its comments, then without trailing commas; strings stay as they are."""
    without_comments = COMMENT_OR_COMMA.sub(lambda match: match[1] or "", piece)
    return json.loads(COMMENT_OR_COMMA.sub(lambda match: match[1] or "", without_comments), strict=False)


def _json_only(value: dict[str, object]) -> JsonObject | None:
    """Return a value as plain JSON, else None: Python literals may hold sets, bytes or NaN."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        plain: JsonObject = json.loads(encodable(text))
        return plain
    except (TypeError, ValueError, RecursionError):
        return None
