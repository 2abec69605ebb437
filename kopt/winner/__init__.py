"""Write a run's best kernel as code for its user, who need not have kopt.

1. `winner` is the kernel with all that is known of it: problem, lineage, verdict, times, versions.
2. `source` takes a kernel's module apart, and leaves out docstrings that were true of the seed kernel only.
3. `provenance` writes what is known as comments, and a docstring that is true of this kernel.
4. `standalone` joins these with a self-check into one module: `python best_kernel.py`.
5. `targets` holds one module for each other form: a PyTorch module, a custom operator, solutions of benchmarks.

The modules of `embedded` are never run by kopt: their text goes into what is written.  Everything here works on text;
nothing of a candidate or of a reference is executed.
"""
