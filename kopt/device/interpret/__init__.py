"""Judge a kernel without a GPU, by Triton's interpreter.

1. `judge` draws seeds, starts a caged `contestant` per kernel and compares what comes back.
2. The contestant runs the candidate under `facade` (a pretended device) and `guard` (torch that must not compute),
   with Triton patched by `patch`: `numbers` and `arithmetic` (bfloat16 bits), `memory` (bounds), `loop_range`.
3. `session` is what one call shares; `launch_record` runs launches again on new inputs, `races` finds data races.

Knows nothing of `kopt.device.cuda`.
"""
