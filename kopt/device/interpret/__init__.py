"""Judge a kernel without a GPU: interpret what Triton's own front end makes of it.

1. `judge` imports Triton, forks a caged `contestant` per kernel, draws the same inputs as the contestant, and compares
   the outputs that come back with the right ones.  It owns the verdict.
2. The contestant makes a `session`, runs the kernel on every draw, replays one call on new inputs, makes the ghost
   call, and further calls on other devices and with every configuration of autotuners.  It owns nothing but outputs.
3. `launch` compiles a kernel as far as TTIR, which `ttir` reads and `translate` turns into a Python function: loops and
   conditions itself, what computes a value by `expressions`.
4. What the function calls: `operations` on blocks, `numbers` of every type, `products`, `device_library` (libdevice),
   inline `assembly` (its text; `assembly_registers`, `assembly_instructions`), and `memory`, which checks the bounds of
   accesses.  `schedule` runs the programs of a launch.
5. `facade` pretends that there is a device; `guard` refuses torch operations that compute.
6. `interpreted_call` holds what a call did, for the replay; `races` finds data races between programs in the replay.

Triton's own interpreter is not used: it runs the text of a kernel as Python, whose `and`, casts, loop variables and
products differ from what the compiler makes of them.  Knows nothing of `kopt.device.cuda`.
"""
