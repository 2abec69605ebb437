"""Build, judge, time and profile kernels: the only package that imports torch and Triton, or uses a GPU.

1. `reference` sets up a problem, calls its model and calls entry points; `facts` counts what a problem must move and
   compute.
2. `draws` makes the inputs of verdicts; `expected` computes right results and compares with them.
3. `screen` refuses a candidate by its source text.
4. `build` traces and compiles a candidate without a GPU (the CPU stage), and fingerprints it.
5. `interpret` judges without a GPU, in an interpreter of Triton's IR; `cuda` judges and times on a GPU.
   Neither knows the other.
6. `ncu` counts with Nsight Compute; `baselines` compiles a reference for comparison; `hardware` finds, leases and
   measures GPUs.

Candidates run in caged children (`kopt.sandbox`) and nowhere else.  A candidate's failure is a value, never an
exception that leaves the package.  Proposing, keeping and showing kernels is the business of other packages.
"""
