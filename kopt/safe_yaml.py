"""Read YAML of small size, depth and expansion; what is more, or no YAML, is one `NotYaml` with a line that says why.

Aliases are allowed, since people write them; those that refer to themselves, or that multiply to more than a file of
settings ever holds, are refused before a value is made of them.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

MOST_BYTES = 4 << 20
MOST_NODES = 200_000
"""Most values and keys of a file, aliases written out."""
MOST_DEPTH = 60
MOST_BRACKETS = 200
"""Most brackets that are open at one place of the text, those in strings and comments counted too."""


class NotYaml(ValueError):
    """A text is no YAML that kopt reads; the message is one line."""


def load_file(path: Path) -> object:
    """Read the YAML in a file.

    Raises:
        NotYaml: the file holds something else, or is no file, no text or too large.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():  # reading a pipe could take for ever
        raise NotYaml("it is not a file")
    if path.stat().st_size > MOST_BYTES:
        raise NotYaml(f"it is larger than {MOST_BYTES >> 20} MiB")
    try:
        return load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotYaml(f"it is no UTF-8 text ({error})") from error


def load(text: str) -> object:
    """Read one document of YAML, of plain types.

    Raises:
        NotYaml: the text is something else.
    """
    if _brackets_open(text) > MOST_BRACKETS:  # PyYAML takes time that grows with their square
        raise NotYaml("it is nested too deeply")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root)
        return loader.construct_document(root)
    except NotYaml:
        raise
    except yaml.YAMLError as error:
        raise NotYaml(" ".join(str(error).split())) from error
    except (ValueError, TypeError) as error:  # an impossible date, a number of 5000 digits, a key that is a list
        raise NotYaml(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply") from error


def _brackets_open(text: str) -> int:
    """Return the largest number of brackets that are open at one place."""
    most = now = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        now = max(0, now + (1 if bracket in "[{" else -1))
        most = max(most, now)
    return most


def _check(root: yaml.Node) -> None:
    """Refuse a document that refers to itself, is too deep, or is too large with its aliases written out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        known = sizes.get(id(node))
        if known == 0:
            raise NotYaml("an alias stands inside of what it refers to")
        if known is not None:
            return known
        if depth > MOST_DEPTH:
            raise NotYaml("it is nested too deeply")
        sizes[id(node)] = 0
        total = 1 + sum(size(child, depth + 1) for child in _children(node))
        if total > MOST_NODES:
            raise NotYaml(f"it holds more than {MOST_NODES} values, with its aliases written out")
        sizes[id(node)] = total
        return total

    size(root, 0)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
