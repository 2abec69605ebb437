"""Change a source text at libcst nodes: replace, insert, indent; the rest of the text stays as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import libcst as cst
from libcst.metadata import CodeSpan

INDENT = "    "


class Edits:
    """Edits of one source, applied together; when two overlap, none is applied."""

    def __init__(self, source: str, spans: Mapping[cst.CSTNode, CodeSpan]) -> None:
        self._bytes = source.encode()
        self._spans = spans
        self._edits: list[tuple[int, int, int, bytes]] = []

    def replace(self, node: cst.CSTNode, text: str) -> None:
        """Replace a node by a text."""
        start, end = self._range(node)
        self._add(start, end, text)

    def after(self, node: cst.CSTNode, text: str) -> None:
        """Insert a text right after a node, on its line."""
        _, end = self._range(node)
        self._add(end, end, text)

    def statements_before(self, statement: cst.CSTNode, lines: str) -> None:
        """Insert whole lines before a statement, at its indentation."""
        start = self._line_start(self._range(statement)[0])
        self._add(start, start, textwrap.indent(lines, self.indentation(statement)) + "\n")

    def statements_after(self, statement: cst.CSTNode, lines: str) -> None:
        """Insert whole lines after a statement, at its indentation."""
        _, end = self._range(statement)
        start = self._bytes.find(b"\n", end)
        start = len(self._bytes) if start < 0 else start
        self._add(start, start, "\n" + textwrap.indent(lines, self.indentation(statement)))

    def indent(self, statements: Sequence[cst.CSTNode]) -> None:
        """Indent statements by one level."""
        start, end = self._line_start(self._range(statements[0])[0]), self._range(statements[-1])[1]
        while start < end:
            stop = self._bytes.find(b"\n", start)
            stop = len(self._bytes) if stop < 0 else stop
            if self._bytes[start:stop].strip():
                self._add(start, start, INDENT)
            start = stop + 1

    def replace_statement(self, statement: cst.CSTNode, lines: str) -> None:
        """Replace a statement by whole lines, at its indentation."""
        self.replace_range(statement, statement, lines)

    def replace_range(self, first: cst.CSTNode, last: cst.CSTNode, lines: str) -> None:
        """Replace everything from a first to a last statement by whole lines, at the first one's indentation."""
        start, end = self._range(first)[0], self._range(last)[1]
        self._add(start, end, textwrap.indent(lines, self.indentation(first)).strip("\n").lstrip())

    def remove_statement(self, statement: cst.CSTNode) -> None:
        """Remove the lines of a statement."""
        start, end = self._range(statement)
        stop = self._bytes.find(b"\n", end)
        self._add(self._line_start(start), len(self._bytes) if stop < 0 else stop + 1, "")

    def moved(self, statements: Sequence[cst.CSTNode], replacements: Mapping[cst.CSTNode, str]) -> str:
        """Return the lines of statements without their common indentation, with texts in place of some nodes.

        The source itself is not edited.
        """
        start, end = self._line_start(self._range(statements[0])[0]), self._range(statements[-1])[1]
        pieces: list[bytes] = []
        for (first, last), text in sorted((self._range(node), text) for node, text in replacements.items()):
            if start <= first and last <= end:
                pieces += (self._bytes[start:first], text.encode())
                start = last
        return textwrap.dedent(b"".join((*pieces, self._bytes[start:end])).decode())

    def text_of(self, node: cst.CSTNode, replacements: Mapping[cst.CSTNode, str]) -> str:
        """Return the text of an expression, with texts in place of some nodes; the source itself is not edited."""
        start, end = self._range(node)
        pieces: list[bytes] = []
        for (first, last), text in sorted((self._range(each), text) for each, text in replacements.items()):
            if start <= first and last <= end:
                pieces += (self._bytes[start:first], text.encode())
                start = last
        return b"".join((*pieces, self._bytes[start:end])).decode()

    def replace_between(self, first: cst.CSTNode, last: cst.CSTNode, text: str) -> None:
        """Replace everything from a first to a last node by a text."""
        self._add(self._range(first)[0], self._range(last)[1], text)

    def text(self) -> str | None:
        """Return the edited source, or None when edits overlap."""
        pieces: list[bytes] = []
        position = 0
        for start, end, _, text in sorted(self._edits, key=lambda e: e[:3]):
            if start < position:
                return None
            pieces += (self._bytes[position:start], text)
            position = end
        return b"".join((*pieces, self._bytes[position:])).decode()

    def _range(self, node: cst.CSTNode) -> tuple[int, int]:
        span = self._spans[node]
        return span.start, span.start + span.length

    def _add(self, start: int, end: int, text: str) -> None:
        self._edits.append((start, end, len(self._edits), text.encode()))

    def _line_start(self, position: int) -> int:
        return self._bytes.rfind(b"\n", 0, position) + 1

    def indentation(self, statement: cst.CSTNode) -> str:
        """Return the white space before a statement."""
        start = self._range(statement)[0]
        line = self._bytes[self._line_start(start) : start]
        return line[: len(line) - len(line.lstrip())].decode()
