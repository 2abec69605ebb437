"""Judge kernels on a GPU: verify them, and time replays of their launches in a process without candidate code.

The process that calls `judge` is the zygote, which forks all others.  A room for each kind of process, for what passes
between them, and for each work of the zygote:

1. `judge_processes` starts the `referee`, which makes inputs and compares outputs, and the `timer`.
2. `verification` runs every kernel in a caged `contestant`: right outputs and recorded calls come of it, or a verdict.
3. `timing` loads recorded calls into the timer, which replays them, verifies the replays, and times them.
4. `race` times a chunk in stages and drops slow kernels, `finals` times finalists to the end in fresh timers.
   `results` are what both keep: verdicts and times.

`recording` makes a value of a call and a call of the value; `sharing` passes draws and results between processes.
`driver` calls the CUDA driver, `storage` sees tensors as bytes.
`environment` names the device and the versions for which a time is valid.  Comparing an output with the expected one is
the business of `kopt.device.expected`; this package knows nothing of `kopt.device.interpret`.
"""
