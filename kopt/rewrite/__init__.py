"""Rewrite Triton kernels by source-to-source transformations: the embedded proposer `kopt-rewrite`.

It plays the part of a language model in the search: given a parent and one direction of its diagnosis, it returns a
changed source.  The steps, each with its owner:

1. `source` reads a module into a model of its kernels, launches and constants, and applies edits to its text.
2. Each `transformations` module finds the sites where its changes apply; `catalogue` lists all transformations.
3. `propose` draws transformations and sites by weight, and stacks up to four; `experience` says which paid in earlier
   rounds, and changes the weights.
4. `tune` refines a fast parent: it changes numbers, which `tunables` reads and sets, by a Gaussian process
   (`gaussian`) over the times of the run and an analytic guess (`priors`), or makes one or two small changes.
5. `limits` rejects a child that would surely not build or would spill registers.

Every transformation keeps the meaning of a kernel for every shape, and offers no site where it cannot show that.  The
package imports neither torch nor triton: whether a child builds, is correct or is faster is the judges' business.
"""
