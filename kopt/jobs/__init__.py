"""Serve the stages: command line, store keys, GPU lease, language models.

1. `command` reads the words of a rule's command line, and writes them in the rule.
2. `target` reads the problem, its facts and its device; `briefing` defines what prompts say after a round.
3. `keys`, `builds` and `kernels` name and find items in the store; `accidents` finds failures that are not stored;
   `source_form` tells which sources do the same.
4. `on_gpu` leases and measures a GPU; `asker` asks language models; `ledger_costs` writes what their replies cost.

Stages import these modules; these modules import no stage.
"""
