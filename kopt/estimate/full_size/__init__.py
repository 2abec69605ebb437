"""Say what a kernel does at full size, where nothing runs without a GPU, and refuse one that leaves work out.

1. `program_steps` prepares the code, `execute` follows its address arithmetic for programs all over the grid, past the
   middle of long `loops`, and lists the `accesses` that it finds; `follow` chooses which programs and threads.
2. `launch_use` makes `pieces` of memory from the accesses of one launch, `host_memory` knows what the host allocates,
   fills and copies, and `memory_use` adds up the distinct bytes that a kernel reads and writes.
3. `work_shares` compares them with what every right kernel must do, and refuses kernels that do less.
"""
