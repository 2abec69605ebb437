"""Hold kernels for operators that TorchInductor has no good Triton for.

A module defines the function of an operator (`kopt.seed.operations.own_operators`), or of a part of several, and its kernels; a seed
copies its definitions, and those of the modules here that it imports from.  So a module imports only torch, Triton,
mathematics and such parts, and calls nothing else outside itself.
"""
