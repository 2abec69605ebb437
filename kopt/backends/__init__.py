"""Say how kernels are built, judged, timed and profiled, one module for each backend.

`backend` is the seam: the record of functions that a rule's script calls.  `dry`, `interpret`, `cuda` and `dry_gpu` are
the backends, by their names in the setting `judge`; their functions import what they use when they are called.

- `dry`: nothing is built or judged; times are made up from digests.
- `interpret`: Triton compiles (`triton_builder`), Triton's interpreter judges (`interpret_judge`), times are estimated
  from the build (`estimates`), profiles too (`static_profile`).
- `cuda`: the judge on a GPU (`cuda_judge`), fresh measurements side by side (`cuda_finals`), counters (`cuda_profile`).
- `dry_gpu`: like `dry`, but its jobs ask for GPUs and lease made-up ones, so that scheduling can be tried without any.

The real backends share what needs no judge: facts of a problem (`problem_facts`), directions by rules
(`rule_diagnosis`), techniques by facts of source and PTX (`static_techniques`).
"""
