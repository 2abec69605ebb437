"""Make a seed kernel from a problem's reference: one stand-alone module of Triton kernels with `kernel_function`.

1. `make` runs the steps 2 to 6 in a caged child, since a reference is foreign code.
2. `sizes` finds which sizes of inputs and parameters the workloads change; these become symbols.  `kept_numbers` finds
   the settings that the reference keeps elsewhere, `derived_floats` how they follow from sizes.
3. `graph` traces the reference into a graph of operations.  `operators` keeps those whole that TorchInductor has no
   good Triton for: pooling, convolutions, attention (`written_attention` where a reference writes it out), sorting.
4. `lowering` has TorchInductor write its module for the graph, for a described device, with the private names of torch
   that `inductor` lists; how products are computed is chosen in `products`.
5. `inductor_module` takes the module apart; `launches` chooses configurations by the `block_time` that follows from a
   kernel's `accesses`; `kernel_text` cleans the kernels, and their `indexes`; `host_text` cleans the code around them,
   and `helpers` copies what they call.
6. `module_text` puts the parts together; operators that were kept whole are kernels of `templates`.
7. `check` builds the seed, judges it in kopt's interpreter, and estimates its time, as for any candidate.

What a seed is for, and how good it has to be, is not decided here: it has to be right, and a search improves it.
"""
