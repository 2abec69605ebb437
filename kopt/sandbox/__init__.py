"""Confine, fork, watch and kill processes, with no torch.

`cage` holds the limits and `landlock` the writable folder; `pool` starts caged children and watches them, `child`
is what runs in one, `pipe` what goes between them, `reply` what a child answers; `processes` finds and kills descendants. `fresh` runs a trusted
function in a process of its own, `service` keeps a trusted process that answers calls. What a child does is its
caller's business.
"""
