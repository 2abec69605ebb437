"""Compare searches: strategies on the same problems, at equal budgets.

1. `plan` reads a comparison's file (`compare.yaml`) and lists its searches, which `workflow/compare.smk` runs.
2. `entrant` reads a finished run as an entrant of a comparison, and `label` names its strategy.
3. `comparable` refuses runs that cannot be compared, and says what else differs.
4. `budget` reads an entrant's best time at a budget, and `standings` computes medians, intervals and win rates.
5. `lines` writes the result for the terminal, `figures` and `page` for a browser.

Everything is read from the folders of finished runs; nothing here searches, judges or measures.
"""
