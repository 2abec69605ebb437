"""Call and time all subjects of a batch by one method, in a process without a candidate's Python code: the timer.

`timer` is the service: it opens input sets, loads subjects (replays of candidates, and baselines), and times them.

Which subjects are timed, how often and why is the business of `kopt.device.cuda.timing`.
"""
