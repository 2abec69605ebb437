"""Draw the inputs of verdicts.

`structure` looks for what must be kept in the values of `get_inputs`, `kinds` holds the kinds of draw, and
`distributions` plans the draws of a verdict and makes their cases, within the reference's domain.
"""
