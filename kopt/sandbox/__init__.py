"""Confine, fork, watch and kill processes; nothing here imports torch.

For untrusted code:

1. `pool` forks children, watches them, kills them at their limits, and removes what they leave (`remove`).
2. `child` is the life of one of them: it enters the cage (`cage`; `landlock` restricts writing) and runs a task.
3. `pipe` carries frames from a child to its parent, `reply` is the form of a child's result.
4. `confined` calls one function in such a child of a fresh process: for code of problems that is read, not judged.

For trusted code: `fresh` calls a function in a process of its own, `service` keeps a process that answers calls,
`environment` sets variables of this process.  `processes` finds and kills descendants of any process.

What a child computes is the business of the caller.
"""
