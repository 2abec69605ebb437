"""Find, lease and measure GPUs, and start the process that everything else is forked from.

`gpus` lists the visible GPUs without CUDA; `lease` gives one to a job; `nvml` reads its clocks; `peaks` measures
its rates, `measured` keeps them; `environment` names what a time is valid for; `zygote` imports torch and Triton
once.
"""
