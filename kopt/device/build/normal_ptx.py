"""Normalise PTX: write equal texts for equal code, whatever the names and debug data that it was compiled with.

Left out are comments, headers, debug directives and sections with their bodies, the texts of assertions (they hold file
names and lines), white space, and the number of registers declared.  Every name that the file itself declares
(registers of every class, labels, functions, parameters, global and shared symbols) is replaced by its kind and its
order of first use.  Names that are only declared as external functions stay: they say what is called.
"""

from __future__ import annotations

import hashlib
import re

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_HEADER = re.compile(r"^\s*\.(?:version|target|address_size|file|loc)\b[^\n]*$", re.MULTILINE)
_SECTION = re.compile(r"^\s*\.section\b[^{]*\{[^}]*\}", re.MULTILINE)
_ASSERTION = re.compile(r"(\.b8\s+assert(?:Message|File|Func)_\d+\s*\[)\d+(\]\s*=\s*)\{[^}]*\}")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%\w+?)<\d+>\s*;")
_ONE_REGISTER = re.compile(r"\.reg\s+\.(\w+)\s+(%?\w+)\s*;")
_EXTERNAL = re.compile(r"\.extern\s+\.func\b[^;]*?\b([A-Za-z_$][\w$]*)\s*\(", re.DOTALL)
_FUNCTION = re.compile(r"\.(?:entry|func)\b\s*(?:\([^)]*\)\s*)?([A-Za-z_$][\w$]*)")
_VARIABLE = re.compile(
    r"\.(param|global|shared|const|local)\b(?:\s+\.(?:align\s+\d+|ptr|global|shared|const|local|[vbusf]\w+))*\s+"
    r"([A-Za-z_$%][\w$]*)"
)
_LABEL = re.compile(r"^\s*([A-Za-z_$][\w$]*)\s*:", re.MULTILINE)
_NAME = re.compile(r"(?<![\w$.])%?[A-Za-z_$][\w$]*")


def normalise(ptx: str) -> str:
    """Return the canonical text of a PTX file: idempotent, and equal for files that differ in names and debug data."""
    text = _COMMENT.sub("", ptx)
    text = _SECTION.sub("", text)
    text = _HEADER.sub("", text)
    text = _ASSERTION.sub(r"\g<1>0\g<2>{}", text)
    text = _renamed(text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def normal_digest(ptx: str) -> str:
    """Return the SHA-256 of the canonical text."""
    return hashlib.sha256(normalise(ptx).encode()).hexdigest()


def _renamed(text: str) -> str:
    """Replace the names that the file declares by canonical ones, and drop register counts."""
    classes = {prefix: kind for kind, prefix in _REGISTERS.findall(text)}
    kinds = {name: f"own_{kind}" for kind, name in _ONE_REGISTER.findall(text)}
    text = _REGISTERS.sub("", text)
    kinds |= dict.fromkeys(_LABEL.findall(text), "label")
    kinds |= {name: kind for kind, name in _VARIABLE.findall(text)}
    external = set(_EXTERNAL.findall(text))
    kinds |= {name: "function" for name in _FUNCTION.findall(text) if name not in external}
    renamed: dict[str, str] = {}
    counts: dict[str, int] = {}

    def rename(match: re.Match[str]) -> str:
        name = match.group()
        if name in renamed:
            return renamed[name]
        kind = kinds.get(name) or classes.get(name.rstrip("0123456789"))
        if kind is None:
            return name
        prefix = "%" if name.startswith("%") else ""
        renamed[name] = f"{prefix}{kind}_{counts.get(kind, 0)}"
        counts[kind] = counts.get(kind, 0) + 1
        return renamed[name]

    return _NAME.sub(rename, text)
