"""Do the work of the rules, one module for each: connect search, rewriter, backends, prompts, techniques and store.

A stage takes values and a store, and returns values.  Scripts (`workflow/scripts`) read and write the run's files, and
Snakemake decides which rule runs when.  A rule's settings are a class beside its stage.  `*_by_model` is the part of a
stage that asks language models; only runs that ask some import it.
"""
