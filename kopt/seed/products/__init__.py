"""Choose how products are computed: on which cores, from factors that lie how in memory, and in which precision.

1. `wide_scores` keeps products in float32 on their way to a softmax.
2. `tensor_cores` gives large products of float32 to the template that computes them from parts of TF32.
3. `row_factors` turns second factors of other products of float32.
4. `time` predicts how long a product takes with a tile.
"""
