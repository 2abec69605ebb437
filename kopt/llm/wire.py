"""Read parts of bodies that servers write in different ways: texts and counts of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kopt.llm.provider import Json
from kopt.llm.reply import MOST_TOKENS

if TYPE_CHECKING:
    import httpx2

TEXT_TYPES = frozenset({"text", "output_text"})
"""Types of parts that are read; parts of other types are reasoning, calls of tools or media."""

DEEPEST = 8
"""Levels of lists and objects that a text may lie in."""


def text_in(content: Json, depth: int = 0) -> str:
    """Return the text of a message's content: a text, a part, or a list of texts and parts.

    Raises:
        TypeError: the content is none of these.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if depth == DEEPEST or not isinstance(content, list | Mapping):
        raise TypeError("the content of a message is no text")
    if isinstance(content, list):
        return "".join(text_in(part, depth + 1) for part in content)
    if content.get("type", "text") not in TEXT_TYPES:
        return ""
    return text_in(content.get("text", content.get("value")), depth + 1)


def count_in(value: Json) -> int | None:
    """Return a count of tokens; None for what is no count, or beyond any model's reach."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value


def object_at(body: Json, *names: str) -> Mapping[str, Json]:
    """Return the object that lies under nested names of a body; empty where there is none."""
    for name in names:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body if isinstance(body, Mapping) else {}


async def whole_body(response: httpx2.Response) -> Json:
    """Return the body of a response that is one JSON value although a stream was asked for; None for a stream.

    Raises:
        ValueError: the body says that it is JSON, and is none.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return None
    return json.loads(await response.aread())
