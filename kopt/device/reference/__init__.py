"""Run the PyTorch reference and compare: call contract, inputs, right outputs, tolerance.

`contract` builds the model and its call; `distributions` draws inputs; `compare` holds the float64 reference and
the tolerance, `calibration` proves that the tolerance tells right from wrong; `expected_outputs` makes right
outputs in parts; `facts` counts bytes and operations; `rejection` is how a failure leaves the code that found it.
"""
