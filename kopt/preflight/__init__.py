"""Check a run before anything is spent: settings and files (`validate`), and the seed kernel (`check_seed`)."""
