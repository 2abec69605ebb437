"""Implement the transformations of the order in which programs read memory; `kopt.rewrite.catalogue` lists them."""
