"""Strategy noop: a beam whose slots nobody fills (`kopt.run_settings.RunSettings.proposers`), for dry runs of the workflow."""

from __future__ import annotations

from kopt.search.strategies.beam import Beam

STRATEGY = Beam()
