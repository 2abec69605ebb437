"""Know seeds, inputs and expected outputs, and compare results, in a process without candidate code: the referee.

1. `referee` is the service: it answers calls by the numbers of input sets and slots.
2. `owned_inputs` makes the inputs of a draw in memory that others may open; `checksums` tell whether they have changed.
3. `outputs` makes the memory of results, and reads small ones.

What is right is the business of `kopt.device.expected`; verdicts are made by the caller.
"""
