"""Run one candidate's Python code on the GPU in a caged child, the contestant; what it reports is not trusted.

`contestant` is the task of the child: it runs the candidate on every draw, hands results over, and records calls.

Who starts contestants and judges their replies is the business of `kopt.device.cuda.verification`.
"""
