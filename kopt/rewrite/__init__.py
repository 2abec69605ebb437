"""The embedded proposer `kopt-rewrite`: source-to-source transformations of Triton kernels.

It plays the part of a language model in the search: given a parent and one direction of its diagnosis it returns a
changed source. It reads and writes text with libcst and imports neither torch nor triton; whether a child builds,
is right, or is faster, is for the judge to say. Each transformation keeps the meaning for every shape, and does not
offer itself where it cannot show that.
"""
