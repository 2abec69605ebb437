"""Rewrite a kernel, one module a family of transformations; `kopt.rewrite.catalogue` lists them all."""
