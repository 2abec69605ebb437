"""Build a candidate without a GPU: trace it on fake tensors, compile, fingerprint.

1. `build` runs a caged child per candidate.
2. `trace` calls the entry point against `stub_gpu`, a GPU that is only described.
3. `kernel_sources` imports the candidate, so that its kernels are compiled from its own text; `plain_operators` stands
   for torch's registry of operators.
4. `launch_recorder` compiles instead of launching, `hostops` watches torch, `trace_log` keeps both.
5. `normal_ptx` and `fingerprint` name the behaviour; `cubin` reads resources; `precompiled` carries binaries to the
   GPU; `further` compiles for the workloads that are no part of a build, so that a GPU's judge finds them compiled.
"""
