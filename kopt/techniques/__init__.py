"""Find which techniques of a taxonomy a kernel uses.

`taxonomy` reads and checks the taxonomy's file.  `static` classifies a kernel: each detector of `detect_compute`,
`detect_grid` and `detect_memory` looks at a `detector.Subject` (source, PTX, launches, device) for one technique;
`source` reads the syntax tree for them.

How kernels are grouped and selected by their techniques is `kopt.search`'s business; what a language model is asked
about them is `kopt.prompts`'.
"""
