"""Look at kernels: collect what is known of one, and compare two.

1. `kernel` defines what a person is told of a kernel.
2. `of_run` collects it for a kernel of a run, from the run's files and the store; `of_file` for a file, which it
   builds; `run` collects what a person is told first of a run.
3. `asked` writes the prompt again that a candidate came from, and reads the reply.
4. `compare` finds what differs between two kernels, `said` which numbers of a proposer's words the build contradicts.
5. `page` collects what the report shows of a run, and writes it; `fate` says why candidates were selected or not,
   `circumstances` how the run was started, who its proposers are, and on which sizes it judged.
6. `run_lines`, `kernel_lines` and `difference_lines` write these values for a terminal.

Judges nothing and times nothing: that is `kopt evaluate`.
"""
