"""Write operations of a reference so that there is Triton for them, while it is traced.

1. `functions` calls others in place of torch's functions;
2. `operators` is the table of decompositions, for what operations these are made of;
3. `own_operators` are kopt's, one for each template, which both call;
4. `written_attention` finds attention that a reference writes out, `complex_pairs` computes with complex numbers, and
   `wide_sums` adds into bfloat16.
"""
