"""Makes the values beside this file importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the tests' own modules beside this file
