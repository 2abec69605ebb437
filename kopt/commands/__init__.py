"""Implement the commands of `kopt`, one module each: the module `evaluate` is the command `kopt evaluate`.

A module declares the command's words in `add_parser(commands)` and does its work in `run(options)`, which returns the
exit status.  `kopt.cli` finds the modules here; nothing else lists them.  `parts` holds what commands share, and the
work of those that are more than one idea.  A module imports what is slow (torch, the device, snakemake) where it uses
it, since `kopt --help` imports them all.
"""
