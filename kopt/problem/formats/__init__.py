"""Formats of problems, one module each: the module's `FORMAT` says which files it reads and how."""
