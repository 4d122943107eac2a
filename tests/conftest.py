import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data: ``LT_SHARED``, or beside the repository; skipped where it is missing."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("LT_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder
