"""Techniques: the taxonomy, and which of its techniques a kernel uses.

Owns the taxonomy's file format and the static classifier (syntax tree and PTX). How kernels are grouped and
selected by their techniques is `kopt.search`'s business; the wording for a language model is `kopt.prompts`'.
"""
