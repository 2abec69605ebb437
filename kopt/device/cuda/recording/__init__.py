"""Record what one call of a candidate does on the device, and do it again in another process.

1. `capture` records a call in the contestant, as a `program`: a value, which proves nothing about its result.
2. `replay` does its steps in the timer, and none that no candidate may do.
3. `launch` launches a compiled kernel, for both.
"""
