"""Build, judge, time and profile kernels in one of several ways: one module for each backend.

`backend` defines the interface: the record of functions that a rule's script calls.  `dry`, `interpret`, `cuda` and
`dry_gpu` are the backends, by their names in the setting `judge`; their functions import modules when they are called.

- `dry`: builds and judges nothing; makes up times from digests.
- `interpret`: compiles with Triton (`triton_builder`), judges with kopt's interpreter (`interpret_judge`), estimates
  times (`estimates`) and profiles (`static_profile`) from the build.
- `cuda`: compiles with Triton, judges on a GPU (`cuda_judge`), measures finalists, baselines and the outcome side by
  side (`cuda_finals`), reads hardware counters (`cuda_profile`).
- `recorded`: what another machine built, judged and measured, from an archive; nothing is measured here.
- `dry_gpu`: like `dry`, but its jobs ask for GPUs and lease made-up ones, to try scheduling on a machine without a GPU.

`interpret` and `cuda` share the facts of a problem (`problem_facts`), directions by rules (`rule_diagnosis`), and
techniques by facts of source and PTX (`static_techniques`).
"""
