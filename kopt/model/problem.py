"""Define a problem: reference program, seed kernel, workloads, and the facts that follow from them."""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from kopt.model.base import Value
from kopt.model.kernel import Kernel


class Dtype(StrEnum):
    """Floating-point type of a problem's inputs and output, or of the first of them where they keep their own."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


class Layout(StrEnum):
    """Strides that an output must have."""

    REFERENCE = "reference"
    """Those of the reference's output."""
    ANY = "any"
    """Whatever the candidate chooses."""


class Keep(StrEnum):
    """What draws leave as `get_inputs` made it."""

    AS_GIVEN = "as_given"
    """Every value: only the seed of `get_inputs` changes."""


class InputRule(Value):
    """Values that draws may give to one input."""

    keep: Keep | None = None
    range: tuple[float, float] | None = None
    """Smallest and largest value, both included."""


class Workload(Value):
    """One concrete shape of a problem, given as overrides of the module constants of `problem.py`."""

    name: str
    constants: dict[str, int] = Field(default_factory=dict)
    """Values of the overridden module constants, e.g. `{"M": 2048, "K": 1048576}`."""


WorkloadKind = Literal["timed", "hidden", "small"]
"""Purpose of a workload.

`timed`: kernels are verified and timed on it (a main workload).  `hidden`: they are verified on it, and proposers are
not told its sizes.  `small`: they are verified on it in kopt's interpreter, which takes small sizes alone.
"""


def workload_title(name: str, kind: WorkloadKind) -> str:
    """Name a workload with its kind, for people and proposers: `small workload ragged`.

    Args:
        name: its name, or the name that a judge on a GPU gives it, which may begin with the kind (`hidden ragged`).
        kind: its kind.
    """
    return f"{kind} workload {name.removeprefix('main ' if kind == 'timed' else f'{kind} ')}"


class Tolerance(Value):
    """Largest accepted error of an element: `absolute + relative * |reference|`."""

    absolute: float = Field(ge=0, allow_inf_nan=False)
    relative: float = Field(ge=0, allow_inf_nan=False)
    matched: float = Field(default=1.0, gt=0, le=1)
    """Share of the elements of an output that must be within the tolerance, for low-bit problems."""


class Floor(Value):
    """The least that any right program must move and compute, as a problem declares it."""

    bytes: int = Field(default=0, ge=0)
    flops: int = Field(default=0, ge=0)


class Problem(Value):
    """A problem with all that a judge must know of it; sources are text, so the value is complete."""

    name: str
    reference: str
    """Source of `problem.py`: `Model`, `get_inputs`, `get_init_inputs` (KernelBench style)."""
    seed: Kernel
    """A plain, correct kernel to start from; its source is empty where the problem comes without one."""
    dtype: Dtype
    main: tuple[Workload, ...] = Field(min_length=1)
    """Timed workloads; the objective is the geometric mean over them, weighted by `weights`."""
    hidden: tuple[Workload, ...] = ()
    """Workloads of other shapes, used for verification only and never shown to a proposer."""
    small: tuple[Workload, ...] = Field(min_length=1)
    """Workloads small enough for kopt's interpreter."""
    tolerance: Tolerance | None = None
    """Declared tolerance; None to calibrate it from the eager model's own error."""
    mutates: tuple[str, ...] = ()
    """Names of inputs that the reference changes; what a candidate leaves in them is compared."""
    inputs: dict[str, InputRule] = Field(default_factory=dict)
    """Declared rules for draws, by name of the input; an input without a rule keeps the structure seen in it."""
    layout: Layout = Layout.REFERENCE
    """Strides that an output must have."""
    floor: dict[str, Floor] = Field(default_factory=dict)
    """Declared floors by name of a main workload, where the derived one is too high."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weights of main workloads in the objective by name; 1 for the others."""
    keep_dtypes: bool = False
    """Whether inputs, parameters and buffers stay in the dtypes in which the reference makes them; else floating-point
    ones of 16 bits or more get the problem's dtype."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave `keep_dtypes` out where it is false: problems without it keep their digests, in certificates too."""
        fields: dict[str, object] = write(self)
        return {name: value for name, value in fields.items() if name != "keep_dtypes" or value}

    @property
    def dtypes(self) -> str:
        """The dtypes of inputs and parameters in words: `float16`, or `float16 and others, as made`."""
        return f"{self.dtype.value} and others, as made" if self.keep_dtypes else self.dtype.value

    @property
    def has_seed(self) -> bool:
        """Whether there is a kernel to start from: a search needs one, judging a kernel does not."""
        return bool(self.seed.source.strip())

    @property
    def workloads(self) -> tuple[tuple[Workload, WorkloadKind], ...]:
        """All workloads with their kinds: the timed ones, the hidden ones, the small ones."""
        groups: tuple[tuple[tuple[Workload, ...], WorkloadKind], ...] = (
            (self.main, "timed"), (self.hidden, "hidden"), (self.small, "small"),
        )  # fmt: skip
        return tuple((workload, kind) for group, kind in groups for workload in group)

    @property
    def judged_beside_main(self) -> tuple[Workload, ...]:
        """Workloads that a judge on a GPU runs beside the main ones: the hidden ones, and the last small one."""
        return (*self.hidden, self.small[-1])

    def without_hidden(self) -> Problem:
        """Return the problem as a process may hold it that runs a candidate: without hidden workloads."""
        return self.model_copy(update={"hidden": ()})


class TensorSpec(Value):
    """Name, shape and dtype of one input, parameter or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """E.g. `bfloat16`, `int64`."""
    place: str = ""
    """Name of its memory in builds: `input 0`, `input 1['k']`, `model weight`, the first name where inputs share it;
    empty for an output that is no input."""
    needed: float = 1.0
    """Share of its elements that every right kernel reads (of an input) or writes (of an output), at least; 0 to 1."""
    end: int = 0
    """Bytes from the begin of its memory to behind its last element; 0 where that is its size."""

    @property
    def bytes(self) -> int:
        """Size in bytes of the dense tensor."""
        return prod(self.shape) * DTYPE_BYTES.get(self.dtype, 4)

    @property
    def needed_bytes(self) -> int:
        """Bytes that every right kernel reads or writes, at least."""
        return int(self.bytes * self.needed)


class EagerOp(Value):
    """One aten operation of the eager reference, with the bytes that it moves and the operations that it computes."""

    name: str
    bytes: int
    """Bytes of its tensor inputs plus outputs; 0 for views."""
    matmul_flops: int
    """Floating-point operations of matrix products and convolutions."""
    vector_flops: int
    """Other floating-point operations, one per output element unless the operation has another count."""
    known: bool = True
    """Whether its time on a GPU follows from these numbers; False for operations of unknown cost."""
    exact: bool = False
    """Whether PyTorch computes its products in float32, not in TF32, so that they do not run on the tensor cores."""
    operands: str = ""
    """Type of the operands of its products, by torch's name; empty without products."""


class WorkloadFacts(Value):
    """What one workload must move, and what its reference computes, counted by tracing it on meta tensors."""

    workload: str
    inputs: tuple[TensorSpec, ...]
    parameters: tuple[TensorSpec, ...] = ()
    """Parameters and buffers of the reference model."""
    outputs: tuple[TensorSpec, ...]
    """Tensors that the reference returns (`output`, or `output[0]`, `output['x']`) and inputs that it changes."""
    eager_ops: tuple[EagerOp, ...]
    """Operations of the eager reference, in order."""
    necessary_flops: int = 0
    """Floating-point operations of those matrix products that no right kernel can do without, as far as is known."""
    product_type: str = ""
    """Type of the fastest matrix products that a right kernel may compute: that of the narrowest operands, as given or
    converted; empty without products."""
    floor: Floor | None = None
    """The floor that the problem declares; it replaces the one derived from the tensors."""
    weight: float = 1.0
    """Weight in the objective."""
    unknown: str = ""
    """Reason for which the reference could not be traced: then nothing is asked of a kernel, and eager has no time."""

    @property
    def bytes(self) -> int:
        """Fewest bytes that a right kernel can move: what is needed of every input, parameter and output, once."""
        if self.floor is not None:
            return self.floor.bytes
        return sum(t.needed_bytes for t in (*self.inputs, *self.parameters, *self.outputs))

    @property
    def floor_flops(self) -> int:
        """Fewest operations of matrix products that a right kernel can do."""
        return self.necessary_flops if self.floor is None else self.floor.flops

    @property
    def output_bytes(self) -> int:
        """Bytes of all outputs."""
        return sum(t.bytes for t in self.outputs)

    @property
    def input_bytes(self) -> int:
        """Bytes of all inputs and parameters."""
        return sum(t.bytes for t in (*self.inputs, *self.parameters))

    @property
    def matmul_flops(self) -> int:
        """Floating-point operations of the matrix products, as the reference does them."""
        return sum(op.matmul_flops for op in self.eager_ops)

    @property
    def exact_flops(self) -> int:
        """Floating-point operations of the matrix products that PyTorch computes in float32, not in TF32."""
        return sum(op.matmul_flops for op in self.eager_ops if op.exact)

    @property
    def vector_flops(self) -> int:
        """Floating-point operations of the reference outside its matrix products."""
        return sum(op.vector_flops for op in self.eager_ops)


class Argument(Value):
    """One argument of the reference in one workload: an input of `forward`, or a parameter or buffer of the model."""

    name: str
    is_input: bool
    value: str | None = None
    """`repr` of an input that is a plain value; None for a tensor."""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    """Elements."""


class Given(Value):
    """The arguments with which one workload calls the reference: inputs in order, then parameters and buffers."""

    workload: str
    arguments: tuple[Argument, ...]


class ProblemFacts(Value):
    """Facts of every main workload, in the problem's order."""

    dtype: Dtype
    workloads: tuple[WorkloadFacts, ...]
    given: tuple[Given, ...] = ()
    """Arguments in all workloads, hidden and small ones included; those left out have inputs inside of lists."""


DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "bfloat16": 2, "float16": 2, "int16": 2,
    "float32": 4, "int32": 4, "float64": 8, "int64": 8, "complex64": 8,
}  # fmt: skip
"""Size of one element by dtype name, bytes."""
