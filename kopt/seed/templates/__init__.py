"""Hold kernels for operators that TorchInductor has no good Triton for.

A module defines the function of an operator (`kopt.seed.operators`) and its kernels; a seed copies its definitions.  So
a module imports only torch, Triton and mathematics, and calls nothing outside itself.
"""
