"""Simplify a kernel: undo each step of its lineage that does not pay, and remove what nothing needs.

1. `changes` finds the changes of a step, as a whole and in parts, and undoes them in a later text.
2. `dead_code` removes parameters, functions, imports and variables that nothing uses.
3. `stale` removes comments and docstrings that were written for other code.
4. `search` tries one after the other, and keeps what the judge passes and what is not slower.

Judges nothing itself: `search` is given the judge.
"""
