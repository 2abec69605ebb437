"""Run the PyTorch reference and compare with it: call contract, inputs, expected outputs, tolerance.

1. `setup` executes a problem's reference, and makes its model and inputs; `contract` binds the arguments of an entry
   point and calls it.
2. `distributions` plans the draws of a verdict and makes their inputs (cases).
3. `outputs` describes outputs and their contract; `tolerance` calibrates the allowed error; `expected_output` computes
   the right output in float64, `expected_by_rows` in parts that fit into the memory of a GPU; `compare` compares.
   `calibration` proves for a problem that its tolerance separates right outputs from wrong ones.
4. `facts` counts what a problem must move and compute.

`placement` places arguments in memory, `rejection` carries a candidate's failure out of the code that found it,
`dispatch` is the base of torch's modes.
Everything works on whatever device the tensors are on, and starts no process.
"""
