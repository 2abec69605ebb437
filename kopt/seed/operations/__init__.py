"""Write operations of a reference so that there is Triton for them, while it is traced.

`operators` has the table of all, and templates of kopt for whole operations; `written_attention` finds attention that a
reference writes out; `complex_pairs` computes with complex numbers, and `wide_sums` adds into bfloat16.
"""
