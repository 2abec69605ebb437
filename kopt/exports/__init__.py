"""Write the files that a run leaves for its user, one module for each: `write(run, store, path)` writes the file.

A module here is an export under its own name, and rule finish names the file that it becomes; nothing else lists them.
The report rests on more than the run's tables: `kopt.view.page` writes it.
"""
