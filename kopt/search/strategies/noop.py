"""Strategy `noop`: leave a beam's slots empty (see `kopt.run_settings.RunSettings.proposers`), for dry runs."""

from __future__ import annotations

from kopt.search.strategies.beam import Beam

STRATEGY = Beam()
