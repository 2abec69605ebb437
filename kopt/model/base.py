"""The base of every value: frozen, strict about unknown fields, documented where it is declared."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value, equal by content; field docstrings become its schema's descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
