"""Read hardware counters with Nsight Compute.

`count` starts ncu on `target`, a program that makes one profiled call of a candidate; `csv` reads what ncu prints.
"""
