"""Read the hardware counters of a kernel with Nsight Compute (`ncu`).

1. `count` starts `ncu` on a program of ours, `target`.
2. `target` runs a candidate, and lets `ncu` profile one call.
3. `csv` reads the table that `ncu` prints; `count` makes a profile of it.

Which direction a profile suggests is the business of `kopt.search`; verdicts and times never come from here.
"""
