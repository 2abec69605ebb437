"""Compute right results and compare with them.

1. `outputs` runs the reference and defines the contract of its result.
2. `expected_output` computes the right result in float64, with the error that `tolerance` allows (`emulation` gives it
   a GPU's float32 arithmetic); `expected_by_rows` does so in parts that fit into the memory of a GPU.
3. `compare` compares a tensor, `compare_result` a whole result, if need be with other roundings on the way;
   `surely_right` accepts a right one with less work where its expected result was computed before and cannot be kept.
4. `calibration` proves for a problem that its tolerance separates right outputs from wrong ones; `randomness` refuses
   references that are random or keep state.
"""
