"""Language models: who is asked, what it may cost, and every reply kept.

A `Request` goes in under a label (a slot's name), a `Reply` comes out: answered, truncated, refused, empty or
unanswered. Each reply is in the store, under its request's digest, before anyone uses it, so nothing is paid twice,
a killed round goes on where it was, and a recorded run replays without a network.

What is said to a model is `kopt.prompts`' business, what a candidate is worth the judges'. Replies are text from
outside: nothing here runs them.
"""
