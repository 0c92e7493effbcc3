"""A trial for each test of the lab, with a seed that is printed and can be given."""

import os
import random
from pathlib import Path

import pytest

from tests.reliability.part import Trial


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    seed = int(os.environ.get("FACTSTR_RELIABILITY_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FACTSTR_RELIABILITY_SEED={seed}")
    return Trial(tmp_path, seed)
