"""Define the files of SOL-ExecBench and FlashInfer-Bench as far as kopt reads them: definition, workload, solution."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Foreign(BaseModel):
    """A value of a foreign file: what kopt does not read may stand there."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Constant(Foreign):
    """An axis of fixed size."""

    type: Literal["const"]
    value: int = Field(ge=0)


class Variable(Foreign):
    """An axis whose size a workload gives."""

    type: Literal["var"]


class Expression(Foreign):
    """An axis whose size follows from others."""

    type: Literal["expr"]
    expression: str


Axis = Annotated[Constant | Variable | Expression, Field(discriminator="type")]


class TensorSpec(Foreign):
    """An input or output."""

    shape: tuple[str, ...] | None
    """Names of axes; None for a plain number."""
    dtype: str


class Definition(Foreign):
    """A definition."""

    name: str
    axes: dict[str, Axis]
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    reference: str
    description: str | None = None
    constraints: tuple[str, ...] | None = None
    custom_inputs_entrypoint: str | None = None


class InputSource(Foreign):
    """Where the values of an input come from."""

    type: str
    value: bool | int | float | None = None


class WorkloadEntry(Foreign):
    """A workload: sizes of the variable axes, and where the inputs come from."""

    uuid: str = ""
    axes: dict[str, int]
    inputs: dict[str, InputSource]


class SourceFile(Foreign):
    """A file of a solution."""

    path: str
    content: str


class BuildSpec(Foreign):
    """How a solution is called."""

    language: str = ""
    languages: tuple[str, ...] = ()
    entry_point: str
    destination_passing_style: bool = True


class Solution(Foreign):
    """A solution."""

    name: str
    definition: str
    spec: BuildSpec
    sources: tuple[SourceFile, ...]
