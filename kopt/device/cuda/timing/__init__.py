"""Time verified kernels and baselines side by side, from the process that calls the timer and the referee.

1. `timing_draws` plans the input sets; `loaded_timer` keeps subjects loaded in a timer, also when one breaks.
2. `admission` verifies the replay of each candidate, before it is timed.
3. `batch` times subjects together.
4. `tolerant_timing` times a batch in stages, and goes on without a kernel that breaks the timer.
5. `new_inputs` times on inputs that no call had before, and refuses kernels that use earlier results again.

How a call is timed is the business of `kopt.device.cuda.timer`; who is timed, and to what end, that of
`kopt.device.cuda.race` and `kopt.device.cuda.finals`.
"""
