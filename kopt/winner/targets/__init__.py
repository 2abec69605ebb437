"""Write a kernel in one of several forms, one module each: the module's `TARGET` writes the text of a file.

`kopt export RUN --as NAME` takes the names of these modules, with `-` for `_`.
"""
