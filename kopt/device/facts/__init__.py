"""Count what a problem must move and compute, without running it at full size.

`facts` traces the reference on meta tensors, where `eager_ops` records its operations.  `needed_elements` follows the
operations backwards to the elements that they need, `influence` tries on a small workload which elements matter.
"""
