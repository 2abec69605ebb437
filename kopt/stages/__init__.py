"""The library function behind each rule: it joins the parts (search, rewriter, device, techniques, ...) over the
store.

Values and a store in, values out. Reading and writing the run's files is the scripts' business
(`workflow/scripts`), which rule runs when is Snakemake's.
"""
