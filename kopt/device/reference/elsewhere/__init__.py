"""Have references that are written for a GPU work on the CPU and on meta tensors.

`anywhere` has the devices that a source names mean the one at hand, with `autocast` for `torch.autocast`, in whose
regions `policy` chooses the types of operations, and `uncompiled` for compilers.
"""
