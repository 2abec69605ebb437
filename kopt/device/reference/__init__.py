"""Run a problem's PyTorch reference, and call an entry point as the reference is called.

1. `setup` executes a problem's reference, and makes its model and inputs; `forward` calls the model, on whatever device
   its tensors are (`elsewhere`), and in another type than its own (`other_type`); `trial` tries sizes of one that
   declares none.
2. `contract` binds the arguments of an entry point and calls it; `tree` takes nested values apart, `layout` copies
   and compares tensors with their strides, `placement` places arguments in memory, `given` names a call's tensors.
3. `rejection` carries a candidate's failure out of the code that found it.

`dispatch` is the base of torch's modes, `seeding` seeds random numbers.
Everything works on whatever device the tensors are on, and starts no process.
"""
