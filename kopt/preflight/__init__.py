"""Check before anything is spent: a run's settings and files (`validate`), its seed kernel (`check_seed`), a problem.

Whether a problem can be judged, `problem_check` finds out in the cage; whether a seed can be made of it, `seed_trial`;
`check_lines` are their answers.
"""
