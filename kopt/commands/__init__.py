"""Implement the commands of `kopt`, one module each: the module `evaluate` is the command `kopt evaluate`.

A module has one function `run`, whose parameters are the command's words, whose docstring is its help, with examples,
and which returns the exit status; and its `PLACE` in `kopt --help`.  `kopt.command_line` finds the modules here;
nothing else lists them.  A command takes `--json`, or says in `WITHOUT_JSON` why not.

`parts` holds what commands share, and the work of those that are more than one idea.  A module imports what is slow
(torch, the device, snakemake) where it uses it, since `kopt --help` imports them all.
"""
