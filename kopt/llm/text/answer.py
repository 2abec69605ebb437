"""Take the answer out of a text: leave out reasoning, and say why a reply holds no answer."""

from __future__ import annotations

import re

from kopt.llm.reply import Answered, Empty, Refused, Truncated, Unanswered, one_line

TAG = re.compile(
    r"(?P<open>(?:^[ \t>]*|(?<=[>\]▷]))(?:<(?:think|thinking|thought|reasoning|reflection|seed:think)>"
    r"|\[THINK\]|◁think▷|<\|begin_of_thought\|>))"
    r"|(?P<close></(?:think|thinking|thought|reasoning|reflection|seed:think)>|\[/THINK\]|◁/think▷"
    r"|<\|end_of_thought\|>)",
    re.MULTILINE | re.IGNORECASE,
)
"""Marks of reasoning that open at the start of a line or after another mark, and marks that close it."""

CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]*<\|message\|>(?P<text>.*?)(?=<\|(?:end|return|start|channel)\|>|\Z)", re.DOTALL
)
"""Parts of a reply whose template the server did not take apart: `analysis` is reasoning, `final` the answer."""


def plain_lines(text: str) -> str:
    """Return a text with plain ends of lines and without byte-order marks."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")


def without_reasoning(text: str) -> str:
    """Return a text without its reasoning.

    A closing mark without an opening one ends reasoning that began before the text; an opening mark without a closing
    one begins reasoning that goes on to the end.
    """
    channels = list(CHANNEL.finditer(text))
    if channels:
        return "".join(part["text"] for part in channels if part["name"] == "final")
    parts, depth, start = list[str](), 0, 0
    for mark in TAG.finditer(text):
        if mark["open"]:
            if depth == 0:
                parts.append(text[start : mark.start()])
            depth += 1
        elif depth == 0:
            parts.clear()
        else:
            depth -= 1
        start = mark.end()
    return "".join(parts) + (text[start:] if depth == 0 else "")


def no_answer(reply: Answered | Truncated | Refused | Empty | Unanswered) -> str:
    """Return in one line why a reply holds no answer; empty where it may hold one."""
    if isinstance(reply, Unanswered):
        return f"{reply.reason}: {reply.detail}"
    if isinstance(reply, Refused):
        return one_line(reply.text) or f"refused ({reply.stop})"
    if isinstance(reply, Empty):
        return _only_reasoning(reply) or f"the reply was empty ({reply.stop})"
    return "" if without_reasoning(reply.text).strip() else _only_reasoning(reply) or "the reply holds reasoning alone"


def _only_reasoning(reply: Answered | Truncated | Empty) -> str:
    """Return a line where the whole output was reasoning, with what to do if it was cut off."""
    if isinstance(reply, Truncated):
        spent = f"all {reply.usage.output} output tokens were spent on reasoning" if not reply.usage.estimated else ""
        return f"{spent or 'the reply was cut off in its reasoning'}: raise max_output_tokens or lower reasoning_effort"
    if reply.usage.reasoning and reply.usage.reasoning >= reply.usage.output:
        return f"all {reply.usage.output} output tokens were reasoning ({reply.stop})"
    return ""
