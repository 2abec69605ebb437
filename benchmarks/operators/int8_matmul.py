"""A linear layer with int8 weights, as weight-only quantisation makes them."""


def w8_linear(x, weight, scale):
    """Multiply by int8 weights (out, in) with one scale for each output."""
    return (x @ weight.to(x.dtype).t()) * scale
