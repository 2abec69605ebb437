"""Pass draws and results between processes on one device, in memory that one of them allocates.

1. `ipc` shares memory between two processes.
2. `sheets` describe a draw in such memory: its arguments, and the place of its results.
"""
