"""Implement the transformations of a kernel, one module for each family; `kopt.rewrite.catalogue` lists them all.

A module has a tuple `TRANSFORMATIONS`, and for each of them a function that finds its sites and one that changes the
source at a site.
"""
