"""Read inline assembly in PTX, and run it on whole blocks at once.

What has no meaning for a program that runs alone (memory, clocks, threads) is refused by the name of its instruction.
`Any` stands for arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kopt.device.interpret.assembly_instructions import INSTRUCTIONS, Instruction, run
from kopt.device.interpret.assembly_registers import Registers, packed, register_count, unpacked
from kopt.device.interpret.session import Unsupported

_NOTHING = ("griddepcontrol", "fence", "membar", "nanosleep", "discard", "prefetch", "pragma")
"""Instructions that do nothing in a program that runs alone."""


@dataclass(frozen=True)
class Assembly:
    """A text of inline assembly."""

    instructions: tuple[Instruction, ...]
    outputs: int
    """Number of output registers; they come first."""
    tied: tuple[tuple[int, int], ...]
    """Pairs of an input and the output whose register it shares."""

    def __call__(
        self,
        *values: Any,
        pack: int,
        elements: Sequence[str],
        results: Sequence[str],
        shape: Sequence[int] | None,
    ) -> tuple[Any, ...]:
        """Return the results for operands of these element types, `pack` elements at a time."""
        whole = tuple(shape or ())
        size = int(np.prod(whole))
        runs = -(-size // pack)
        bits: dict[str, Any] = {}
        number = self.outputs
        for value, element in zip(values, elements, strict=True):
            for register in packed(value, element, whole, runs, pack):
                bits[f"${number}"] = register
                number += 1
        for source, target in self.tied:
            bits[f"${target}"] = bits[f"${source}"]
        registers = Registers(bits, runs)
        for instruction in self.instructions:
            run(instruction, registers)
        made, number = [], 0
        for element in results:
            count = register_count(element, pack)
            wanted = [registers.read(f"${number + at}") for at in range(count)]
            made.append(unpacked(wanted, element, whole, size, pack))
            number += count
        return tuple(made)


def read(text: str, constraints: str) -> Assembly:
    """Read a text of inline assembly and its constraints.

    Raises:
        Unsupported: an instruction cannot be run here.
    """
    kinds = [constraint.strip() for constraint in constraints.split(",") if constraint.strip()]
    outputs = sum(kind.startswith("=") for kind in kinds)
    tied = tuple((at, int(kind)) for at, kind in enumerate(kinds) if kind.isdigit())
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^\s*\{|\}\s*$|^\{|\}$", " ", re.sub(r"^\s*\{|\}\s*;?\s*$", " ", text))
    instructions = []
    for statement in re.split(r";", text):
        statement = statement.strip().strip("\n\t ")
        statement = re.sub(r"^\{(?![^}]*\})", "", statement).strip()
        statement = statement.removeprefix("}").strip()
        if not statement or statement.startswith((".reg", ".pragma")):
            continue
        instruction = _instruction(statement)
        if instruction.name not in _NOTHING:
            if instruction.name not in INSTRUCTIONS:
                raise Unsupported(f"the interpreter does not know the instruction {statement.split()[0]}")
            instructions.append(instruction)
    return Assembly(tuple(instructions), outputs, tied)


def _instruction(statement: str) -> Instruction:
    guard = ""
    found = re.match(r"@(!?)\s*(\S+)\s+(.*)$", statement, re.DOTALL)
    if found is not None:
        guard, statement = found.group(1) + found.group(2), found.group(3)
    opcode, _, rest = statement.partition(" ") if " " in statement else statement.partition("\t")
    operands = [part.strip() for part in re.findall(r"\{[^}]*\}|[^,]+", rest) if part.strip()]
    name, *parts = opcode.strip().split(".")
    return Instruction(guard, name, tuple(parts), tuple(operands))
