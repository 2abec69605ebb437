"""Problems on disk: formats, and the checks that need no import of the problem's code.

Owns how a folder becomes a `kopt.model.problem.Problem`.  Running the reference is `kopt.device`'s business.
"""
