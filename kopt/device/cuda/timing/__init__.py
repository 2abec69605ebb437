"""Time verified kernels and baselines side by side, from the process that calls the timer and the referee.

1. `batch` loads recorded calls into a timer, verifies their replays, and times them.
2. `tolerant_timing` times a batch, and goes on without a kernel that breaks the timer.

How a call is timed is the business of `kopt.device.cuda.timer`; who is timed, and to what end, that of
`kopt.device.cuda.race` and `kopt.device.cuda.finals`.
"""
