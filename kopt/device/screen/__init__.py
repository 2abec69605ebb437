"""Refuse a candidate by its source text, before any of its code runs.

1. `syntax` refuses a source that does not parse or defines no entry point.
2. `rules` refuses what reaches out of torch, the kernel's language and arithmetic, in the code that can run (`live`).
   For that `names` resolves which modules and parts of modules a name stands for, `scopes` which names are local
   variables, and `reach` which modules a dotted name passes through; `use` judges a dotted name by the lists in
   `closed`.

The screen is no defence by itself; the judges do not rely on it.
"""
