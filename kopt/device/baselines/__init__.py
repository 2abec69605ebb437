"""Baselines of a problem: its reference, eager and compiled by `torch.compile`.

1. `compilations` lists the compilations that a measurement needs, and keeps them in the store.
2. `compiler` compiles, and packs and unpacks what was compiled.

Which process compiles, and how baselines are timed, is the business of `kopt.device.cuda`.
"""
