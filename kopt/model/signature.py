"""Define the signature of a reference: what it takes and returns."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.problem import TensorSpec

LONGEST = 80
"""Most characters of a structure in a message."""


class Signature(Value):
    """What a reference takes and returns with the sizes of one workload."""

    inputs: tuple[TensorSpec, ...]
    """Tensors among the inputs, in the problem's dtype."""
    given_dtypes: tuple[str, ...]
    """Dtype of each of them in `get_inputs`."""
    values: tuple[str, ...] = ()
    """Inputs that are no tensors, e.g. `eps = 1e-06`."""
    parameters: tuple[TensorSpec, ...] = ()
    """Parameters and buffers of the model, in the problem's dtype."""
    made_dtypes: tuple[str, ...] = ()
    """Dtype of each of them as the model makes it."""
    outputs: tuple[TensorSpec, ...] = ()
    """Tensors that the model returns; empty where it changes an input in place alone."""
    returned: str = "None"
    """Structure of what the model returns, e.g. `(Tensor, 3)`."""

    @property
    def returned_in_words(self) -> str:
        """Describe what a model returns that holds no tensor: it has to change an input, as its result shows."""
        if self.returned == "None":
            return "returns nothing, and changes what it is given"
        return f"returns {self.returned[:LONGEST]} and no tensor, and changes what it is given"
