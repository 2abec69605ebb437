"""Verify kernels: run the Python code of each in a caged contestant, and judge its reply and its outputs.

`verifier` starts contestants side by side, and makes a recording or a verdict of each.
"""
