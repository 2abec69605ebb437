"""Multiply numbers of a reference as its right result, and what a GPU may make of it, ask.

1. `float32` multiplies float32 numbers with TF32 and without.
2. `wide_convolutions` convolves float64 numbers by products of matrices.
"""
