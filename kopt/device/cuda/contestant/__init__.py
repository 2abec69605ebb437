"""Run one candidate's Python code on the GPU in a caged child, the contestant; what it reports is not trusted.

1. `contestant` is the task of the child: it runs the candidate on every draw, and records its calls.
2. `draw_in_memory` reads draws from the referee's memory and hands results over; `private_arguments` are the
   contestant's own copies.
3. `run_draw` runs the candidate on one draw and reports it; `reply` is what is sent: reports and recorded calls.

Who starts contestants and judges their replies is the business of `kopt.device.cuda.verification`.
"""
