"""Name the proposers that need no provider."""

from __future__ import annotations

REWRITER = "kopt-rewrite"
ECHO = "kopt-echo"
NOBODY = "none"
EMBEDDED = (REWRITER, ECHO)
"""Proposers that need no provider: the rewriter, and one that numbers its parent's source (for dry runs)."""
