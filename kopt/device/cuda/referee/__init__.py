"""Know seeds, inputs and expected outputs, and compare results, in a process without candidate code: the referee.

`referee` is the service: it makes input sets in memory that others may open, and answers calls by their numbers.

What is right is the business of `kopt.device.expected`; verdicts are made by the caller.
"""
