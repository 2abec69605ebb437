"""Define a draft: a problem of which dtype and workloads may still have to be derived."""

from __future__ import annotations

from pydantic import Field

from kopt.model.base import Value
from kopt.model.problem import Dtype, Floor, InputRule, Layout, Tolerance, Workload

GIVEN = Workload(name="given")
"""The sizes as the reference gives them."""


class Draft(Value):
    """What a format or a source knows of a problem; the rest is derived by `kopt.problem.derive`."""

    name: str
    reference: str
    """Source that defines `Model`, `get_inputs` and `get_init_inputs`."""
    file: str = ""
    """How messages name the file of the reference; empty: `problem.py` in a folder of the problem's name."""
    seed: str = ""
    """Source of a kernel with `kernel_function`, or of a `ModelNew` as in KernelBench; empty where there is none."""
    kernels: dict[str, str] = Field(default_factory=dict)
    """Sources of further kernels by file name."""
    dtype: Dtype | None = None
    """None: that of the first floating-point input."""
    keep_dtypes: bool | None = None
    """Whether inputs and parameters keep their dtypes; None: where these differ, no dtype is given, and it runs so."""
    main: tuple[Workload, ...] = (GIVEN,)
    hidden: tuple[Workload, ...] | None = None
    """None: derived."""
    small: tuple[Workload, ...] | None = None
    """None: derived."""
    sizes: tuple[str, ...] | None = None
    """Constants that derived workloads change; all others only where no workloads are found so.  None: any."""
    tolerance: Tolerance | None = None
    mutates: tuple[str, ...] = ()
    inputs: dict[str, InputRule] = Field(default_factory=dict)
    layout: Layout = Layout.ANY
    floor: dict[str, Floor] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Facts that the user should know, a line each."""
