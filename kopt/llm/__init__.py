"""Ask language models, within a budget, and keep every reply.

The steps of a request:

1. `request`: a stage makes a `Request`, which holds all that the reply depends on, under a label (a slot's name).
2. `ask` looks the request up in the store by its digest: a stored reply is returned, and nothing is paid twice.
3. `ledger` reserves the call's worst case, or refuses where the run's caps could be passed.
4. `client` picks the provider of the model's entry in the `table`, writes the body, opens a connection and calls.
5. `provider` says what a protocol must do, and each module of `providers` does it: bodies, streams, batches, errors;
   `wire` reads what servers write in different ways.
6. A failed call is a `Fault` (`faults`); `retry` says when to try again.
7. `outcome` turns the reply's body into one of the four kept outcomes of `reply`, with its tokens and price.
8. `ask` keeps the reply in the store before any stage uses it, then the ledger settles the call at its real cost.
9. `text` finds the kernel or the JSON in a reply's text.

Other ways to a reply: `batch` goes through the providers' batch APIs, `exchange` through a folder that people or
programs answer, `ask.replay` through the store alone, and `pack` carries a run's replies to another store.  Before a
run, `forecast` estimates its cost and `doctor` finds models that cannot be asked.

Who owns what: `providers` alone know protocols and SDKs, `client` alone connections and keys, `ledger` alone money
spent, `table` prices and limits, `kopt.model.asking.CallOptions` times and tries.  What a prompt says is the business
of `kopt.prompts`, what a candidate is worth that of the judges.  Replies are text from outside: nothing here runs them.
"""
