"""Confine, fork, watch and kill processes; nothing here imports torch.

For untrusted code:

1. `pool` forks children, watches them (`use` counts memory and files), kills them at their limits, and removes what
   they leave (`remove`); `group` limits the memory of a child with all its processes.
2. `child` is the life of one of them: it enters the cage and runs a task.  `cage` puts together what confines it:
   `landlock` restricts files, `seccomp` closes system calls.
3. `pipe` carries frames from a child to its parent, `reply` is the form of a child's result.
4. `caged_call` calls one function in such a child of a fresh process: for code of problems that is read, not judged.
5. `confined` runs a whole program that may run code of others; `archive` reads files that others packed.

For trusted code: `fresh` calls a function in a process of its own, `service` keeps a process that answers calls,
`environment` sets variables of this process.  `processes` finds and kills descendants of any process.

What a child computes is the business of the caller.
"""
