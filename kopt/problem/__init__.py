"""Load and make problems: find a problem's folder, recognise its format, derive what the files leave open.

1. `folder` finds the folder that a word of a command line means, and picks the format that it is in from `formats`.
2. `format` declares what a format is: which files it reads, whether it recognises a folder, how it reads one.
3. `formats` holds the formats, a module each; a module in it is a format, and nothing else lists them.  A format reads
   files into a `draft`.
4. `derive` completes a draft: dtype and workloads follow from trying sizes; `caged` does that in the cage.
5. `make` makes a new problem of a file or folder in any format, of a `function` with example inputs, or of the
   gradient of one of them (`backward`); `write` writes its folder.

Owns how files and functions become a `kopt.model.problem.Problem`.  Running a reference is the business of
`kopt.device`.
"""
