"""Hold what is known of the kernels of a chunk: pure values, without a process or a device.

1. `verdicts`: the outcome of verification, a recording or a verdict.
2. `times`: the samples of timed calls, and the intervals, ratios and refusals made of them.
3. `chunk_results`: both, by name of the kernel.
"""
