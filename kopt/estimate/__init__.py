"""Estimate a kernel's time from its PTX and a description of a device; numpy only, nothing runs.

1. `instructions` parses PTX; `registers` and `arithmetic` hold what integer registers contain for a sample of
   threads; `parameters` matches PTX parameters with a launch's arguments.
2. `walk` follows the code and its loops (`trip_counts`) and says how often each access happens, at which addresses.
3. `traffic` turns accesses into bytes level by level, `cycles` into the time of each part of the device.
4. `launch_time` joins the parts into the time of a launch, `kernel_time` the launches into a time per workload.

`eager` estimates the PyTorch reference.

`full_size` says what a kernel does at full size, where nothing runs without a GPU.
"""
