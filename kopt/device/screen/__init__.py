"""Refuse a candidate by its text, before anything of it runs.

`rules` holds what is refused; `names` resolves what a name stands for, `scopes` which names are local, `reach`
which modules a dotted name reaches.
"""
