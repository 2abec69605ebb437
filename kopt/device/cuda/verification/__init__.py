"""Verify kernels: run the Python code of each in a caged contestant, and judge its reply and its outputs.

1. `verifier` starts contestants side by side, and makes a recording or a verdict of each; `slots` are their places in
   the referee's memory.
2. `reply_judge` judges the reply of a contestant that has come to its end.
3. `workload_names` tells workloads of one name apart, and says on which of them a candidate failed.

What is right is asked of the referee; the replay is verified later, by `kopt.device.cuda.timing.admission`.
"""
