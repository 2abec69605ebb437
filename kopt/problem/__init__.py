"""Load problems: find a problem's folder, recognise its format, read it without importing the problem's code.

1. `folder` finds the folder that a word of a command line means, and picks the format that it is in from `formats`.
2. `format` declares what a format is: which files it reads, whether it recognises a folder, how it reads one.
3. `formats` holds the formats, a module each; a module in it is a format, and nothing else lists them.

Owns how a folder becomes a `kopt.model.problem.Problem`.  Running the reference is the business of `kopt.device`.
"""
