"""Estimate a kernel's time from its PTX and a description of a device; numpy only, nothing runs.

1. `instructions` parses PTX; `registers` and `arithmetic` hold what integer registers contain for a sample of
   threads; `parameters` matches PTX parameters with a launch's arguments.
2. `walk` follows the code and its loops (`trip_counts`) and says how often each access happens, at which addresses.
3. `traffic` turns accesses into bytes level by level, `cycles` into the time of each part of the device.
4. `launch_time` joins the parts into the time of a launch, `kernel_time` the launches into a time per workload.

`eager` estimates the PyTorch reference.

At full size nothing runs without a GPU, so that a kernel's code says what it does there:

1. `program_steps` prepares the code, `execute` follows its address arithmetic for programs all over the grid, past the
   middle of long `loops`, and lists the `accesses` that it finds.
2. `launch_use` makes `pieces` of memory from the accesses of one launch, `host_memory` knows what the host allocates,
   fills and copies, and `memory_use` adds up the distinct bytes that a kernel reads and writes.
3. `work_shares` compares them with what every right kernel must do, and refuses kernels that do less.
"""
