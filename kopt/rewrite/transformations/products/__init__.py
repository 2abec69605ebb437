"""Implement the transformations of matrix products, one module for each; `kopt.rewrite.catalogue` lists them."""
