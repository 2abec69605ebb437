"""Judge kernels on a GPU: verify them, and time replays of their launches in a process of ours.

1. `judge` is the door.
2. `bench` keeps the processes: `referee` (seeds, inputs, answers), `contestant` (the candidate, caged), `timer`.
3. The contestant's call is captured (`capture`) as a `program` and run again (`replay`, `launch`) on memory shared
   by `ipc`.
4. `race` drops slow kernels round by round, `batch` is what is timed side by side, `times` the intervals,
   `verdicts` the failures. `noise` measures the clock against itself.

Knows nothing of `kopt.device.interpret`.
"""
