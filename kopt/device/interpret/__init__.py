"""Judge a kernel without a GPU, in Triton's interpreter.

1. `judge` imports Triton with its interpreter, forks a caged `contestant` per kernel, draws the same inputs as the
   contestant, and compares the outputs that come back with the right ones.  It owns the verdict.
2. The contestant makes a `session`, installs the patches, runs the kernel on every draw, replays one call on new
   inputs and makes the ghost call.  It owns nothing but outputs.
3. `patch` makes Triton's interpreter strict and true to a GPU: `arithmetic` and `numbers` (bfloat16 and 8-bit types),
   `memory` (bounds of accesses), `loop_range` (loop variables).
4. `facade` pretends that there is a device; `guard` refuses torch operations that compute.
5. `interpreted_call` holds what a call did, for the replay; `races` finds data races between programs in the replay.

Knows nothing of `kopt.device.cuda`.
"""
