"""Run the PyTorch reference and compare with it: call contract, inputs, expected outputs, tolerance.

1. `contract` sets up a problem and binds the arguments of an entry point.
2. `distributions` plans the draws of a verdict and makes their inputs (cases).
3. `compare` computes the expected output in float64 with its tolerance, and compares outputs with it;
   `expected_outputs` does so in parts that fit into the memory of a GPU; `calibration` proves for a problem that its
   tolerance separates right outputs from wrong ones.
4. `facts` counts what a problem must move and compute.

`rejection` carries a candidate's failure out of the code that found it, `dispatch` is the base of torch's modes.
Everything works on whatever device the tensors are on, and starts no process.
"""
