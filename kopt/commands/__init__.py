"""Do the work of `kopt COMMAND`, one module a command; `kopt.cli` only reads the command line."""
