"""Turn a command line into the call of a command: find the command, parse its words, write help and errors.

A command is a module of `kopt.commands` with a function `run`, whose parameters are its words (`typer.Argument`,
`typer.Option`), whose docstring is its help, and which returns the exit status.  `group` makes commands of such modules
when they are named; `panel` says where `kopt --help` shows them; `numbers` and `completion` read and complete single
words; `usage` writes errors of parsing in one line.  The commands' work is not its business.
"""
