"""Define the base class of every value: frozen, and strict about unknown fields."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value, equal by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
