"""Read a Triton module into a small model, and edit its text.

`module` is the model; `syntax` the patterns it is read by, `edit` the changes, `shapes` of tiles, `divisibility` of
sizes, `tuned_choices` of autotuners.
"""
