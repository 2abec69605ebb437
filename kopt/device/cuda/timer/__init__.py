"""Call and time all subjects of a batch by one method, in a process without a candidate's Python code: the timer.

1. `timer` is the service: it loads subjects, calls them by name, and keeps outputs of timed calls.
2. `subject` makes callables of recorded programs and of the reference; `opened_inputs` are what they are called on.
3. `clock` times one call; `scratch` is the memory that launches ask for meanwhile.

Which subjects are timed, how often and why is the business of `kopt.device.cuda.timing`.
"""
