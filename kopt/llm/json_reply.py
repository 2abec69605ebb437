"""Read the JSON object in a reply: total functions of text that never raise.

Providers that can be held to a schema return plain JSON.  Elsewhere it comes fenced, with prose around it, trailing
commas, comments or Python's own literals.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from kopt.llm.reply import Answered, Empty, Refused, Reply, Truncated, Unanswered
from kopt.model.base import Value

M = TypeVar("M", bound=BaseModel)

LONGEST = 100_000


class NoJson(StrEnum):
    """Why a reply holds no usable object."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    NO_OBJECT = "no_object"
    WRONG_SHAPE = "wrong_shape"
    """There is an object, and it lacks what was asked for."""


class Read(Value):
    """The object in a reply, as plain JSON."""

    status: Literal["read"] = "read"
    value: dict[str, Any]


class NotRead(Value):
    """No usable object."""

    status: Literal["not_read"] = "not_read"
    reason: NoJson
    detail: str
    """One line for a person."""


Reading = Annotated[Read | NotRead, Field(discriminator="status")]


def object_of(reply: Reply) -> Read | NotRead:
    """The JSON object in a reply; in a truncated one too, when it is whole."""
    if isinstance(reply, Unanswered):
        return NotRead(reason=NoJson.UNANSWERED, detail=f"{reply.reason}: {reply.detail}")
    if isinstance(reply, Refused):
        return NotRead(reason=NoJson.REFUSED, detail=" ".join(reply.text.split())[:300] or f"refused ({reply.stop})")
    if isinstance(reply, Empty):
        return NotRead(reason=NoJson.EMPTY, detail=f"the reply was empty ({reply.stop})")
    found = object_in(reply.text)
    if found is not None:
        return Read(value=found)
    if isinstance(reply, Truncated):
        return NotRead(reason=NoJson.TRUNCATED, detail=f"the reply was cut off ({reply.stop}) inside its JSON")
    assert isinstance(reply, Answered)
    return NotRead(reason=NoJson.NO_OBJECT, detail="the reply holds no JSON object")


def value_of(reply: Reply, model: type[M]) -> M | NotRead:
    """The JSON object in a reply as a checked value; unknown fields are passed over."""
    read = object_of(reply)
    if isinstance(read, NotRead):
        return read
    try:
        return model.model_validate({name: read.value[name] for name in model.model_fields if name in read.value})
    except ValidationError as error:
        one = error.errors(include_url=False, include_input=False)[0]
        detail = f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
        return NotRead(reason=NoJson.WRONG_SHAPE, detail=detail)


def flags_of(reply: Reply, names: Iterable[str]) -> dict[str, bool] | NotRead:
    """Yes or no for each name: from an object of booleans by name, or a list of the names that hold.

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


def _flags(value: Any, wanted: dict[str, str]) -> dict[str, bool] | None:
    """By name in this object, or in the objects and lists within it."""
    if isinstance(value, dict):
        here = {
            wanted[key]: flag
            for raw, v in value.items()
            if (key := _plain(raw)) in wanted and (flag := _flag(v)) is not None
        }
        if here:
            return here
        inner = [found for v in value.values() if (found := _flags(v, wanted)) is not None]
        return inner[0] if inner else None
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        held = {_plain(v) for v in value}
        return {name: key in held for key, name in wanted.items()} if held & wanted.keys() else None
    if isinstance(value, list):
        named = {v["name"]: v for v in value if isinstance(v, dict) and isinstance(v.get("name"), str)}
        return _flags(named, wanted) if named else None
    return None


def _flag(value: Any) -> bool | None:
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


def _plain(name: object) -> str:
    return re.sub(r"[\s_\-]+", "", str(name)).lower()


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object in a text: the last of the largest ones that can be read, or None."""
    best: dict[str, Any] | None = None
    size = 0
    for piece in _pieces(text[:LONGEST]):
        value = _loads(piece)
        if value is not None and len(piece) >= size:
            best, size = value, len(piece)
    return best


def _pieces(text: str) -> Iterator[str]:
    """The outermost balanced `{...}` of a text, strings respected; braces of prose are skipped one by one."""
    start, tried = text.find("{"), 0
    while start >= 0 and tried < 50:
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
    """One past the brace that closes the one at `start`, or None."""
    depth, quote, escaped = 0, False, False
    for at in range(start, len(text)):
        sign = text[at]
        if quote:
            quote = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quote = True
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            if depth == 0:
                return at + 1
    return None


def _loads(piece: str) -> dict[str, Any] | None:
    """A piece as JSON; else without comments and trailing commas; else as a Python literal."""
    for read in (json.loads, _loads_lax, ast.literal_eval):
        try:
            value = read(piece)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return _json_only(value)
    return None


LAX = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|#[^\n]*|,(?=\s*[}\]])', re.DOTALL)


def _loads_lax(piece: str) -> Any:
    without_comments = LAX.sub(lambda match: match[1] or "", piece)
    return json.loads(LAX.sub(lambda match: match[1] or "", without_comments), strict=False)


def _json_only(value: dict[str, Any]) -> dict[str, Any] | None:
    """The value if it is JSON through and through (Python literals may hold sets, bytes, NaN)."""
    try:
        return value if json.loads(json.dumps(value, allow_nan=False)) is not None else None
    except (TypeError, ValueError, RecursionError):
        return None
