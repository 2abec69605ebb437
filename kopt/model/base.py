"""Define the base class of every value: frozen, and strict about unknown fields."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value, equal by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Documented(Value):
    """A value whose docstrings describe its fields; for settings alone, since reading docstrings takes time."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
