"""Define the vocabulary: frozen values, equal by content.

A value holds facts, and nothing about when it was made or where it lies (that is the artifact's
business, `kopt.artifact`).  Nothing here imports anything of kopt but `kopt.errors`.
"""
