"""The corpus of exploits and honest kernels, read once for the tests of the corpus, of the screen and of patches."""

from pathlib import Path

from kopt.commands.parts import corpus
from kopt.problem import folder

ROOT = Path(__file__).resolve().parents[2]
EXPLOITS = ROOT / "tests" / "exploits"
PLACES = [ROOT / "config" / "problems", EXPLOITS / "problems"]
PROBLEMS = {name: folder.load(place / name) for place in PLACES for name in folder.names(place)}
ENTRIES = corpus.read(EXPLOITS, PROBLEMS)
BY_NAME = {entry.name: entry for entry in ENTRIES}
HONEST = [entry for entry in ENTRIES if entry.aim == "honest"]
PATCHING = ("patched_judge", "patched_tracer")
"""Exploits that import modules of kopt and replace what is in them."""
