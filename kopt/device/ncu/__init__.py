"""Read the hardware counters of a kernel with Nsight Compute (`ncu`), and make a profile of them.

1. `count` profiles kernels one after the other; the next ones' programs start meanwhile, and wait for their turn.
2. `run` is one run of `ncu` on a program of ours, `target`; both know the `job`.
3. `target` runs a candidate, and lets `ncu` profile one call.
4. `outcome` says what came of a run; `csv` reads the table that `ncu` prints.
5. `profile` makes a profile of counters.

A profile steers the search; verdicts and times do not depend on it.  Which direction it suggests is the business of
`kopt.search`.
"""
