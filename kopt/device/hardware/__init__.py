"""Find, lease and measure GPUs, and prepare the process that all others are forked from.

1. `gpus` lists the visible GPUs without CUDA.
2. `lease` reserves one of them for a job and says how to bind a process to it.
3. `peaks` measures the rates of a device, `measured` is the value and its key in the store.
4. `nvml` reads clocks, temperature and power.
5. `zygote` imports torch and Triton once, without a CUDA context.

Only `peaks` and `zygote` import torch.  Nothing here sets a variable that binds this process to a GPU: that is the
business of the job (`kopt.jobs.on_gpu`).
"""
