"""Makes the shared peers importable and offers their fixtures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.fixtures import *  # noqa: F403  (fixtures are found by name)
