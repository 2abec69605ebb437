"""What the user takes home of a run, one module a file: its `write(run, store, path)` writes it.

A module here is an export under its own name, and rule finish names the file that it becomes; nothing else lists them.
"""
