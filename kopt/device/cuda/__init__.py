"""Judge kernels on a GPU: verify them, and time replays of their launches in a process without candidate code.

`judge` puts the steps together; the process that calls it is the zygote, which forks all others.

1. `judge_processes` starts the `referee`, which makes input `sheets` and compares outputs, and the `timer`.
2. `verifier` runs every kernel in a caged `contestant`, which returns right outputs and recorded calls, or a verdict
   (`verdicts`).  `capture` records a call as a `program`; memory is shared by `ipc`.
3. `batch` loads recorded calls into the timer, which replays them (`replay`, `launch`), and verifies the replays.
4. `race` times a chunk in stages and drops slow kernels, `finals` times finalists to the end in fresh timers; both go
   on without a kernel that breaks the timer (`tolerant_timing`) and keep `chunk_results` and `times`.

`environment` names the device and the versions for which a time is valid.  Comparing an output with the expected one is
the business of `kopt.device.reference`; this package knows nothing of `kopt.device.interpret`.
"""
