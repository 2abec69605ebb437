"""Build, judge, time and profile kernels: the only package that imports torch and Triton, or uses a GPU.

1. `reference` sets up a problem, calls entry points, and knows which outputs are right.
2. `screen` refuses a candidate by its source text.
3. `build` traces and compiles a candidate without a GPU (the CPU stage), and fingerprints it.
4. `interpret` judges without a GPU, in Triton's interpreter; `cuda` judges and times on a GPU.
   Neither knows the other.
5. `ncu` counts with Nsight Compute; `hardware` finds, leases and measures GPUs.

Candidates run in caged children (`kopt.sandbox`) and nowhere else.  A candidate's failure is a value, never an
exception that leaves the package.  Proposing, keeping and showing kernels is the business of other packages.
"""
