"""Work out a kernel's time from its PTX and a description of a device; numpy only, nothing runs.

1. `instructions` parses PTX; `registers` and `arithmetic` hold what integer registers contain for a sample of
   threads.
2. `walk` follows the code and its loops (`trip_counts`) and says how often each access happens, at which addresses.
3. `traffic` turns accesses into bytes level by level, `cycles` into the time of each part of the device.
4. `time` joins the parts into a time per workload; `work_done` refuses kernels that leave work out at full size.
"""
