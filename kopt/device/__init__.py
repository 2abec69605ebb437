"""Everything that needs torch, Triton or a GPU: the only package that imports them.

contract how a problem is set up and an entry point called, the same for every judge fork, cage untrusted work in
   children that are confined and killed at their limits trace, build the CPU stage: what a candidate would launch,
   compiled, without a GPU ptx, fingerprint when two candidates do the same interpret, verify, facts, estimate the
   judge that needs no GPU

A candidate's failure is a value here, never an exception that leaves the package. What is proposed, kept or shown
is not decided here.
"""
