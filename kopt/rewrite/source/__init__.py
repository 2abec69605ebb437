"""Read a Triton module into a model, and edit its text.

`syntax` reads and matches nodes of the syntax tree, and `module` makes the model from them: kernels, launches, grids
and constants.  `shapes` works out the shape of every value in a kernel, `divisibility` which comparisons hold when a
size is a multiple of a block, `described` how large the tiles are that descriptors bring, and `tuned_choices` what an
autotuner tries.  `updates` reads what a loop accumulates, `statements` what single statements assign and read,
`pooling` a kernel that combines windows.  `edit` changes the text.
"""
