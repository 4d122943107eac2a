"""Which code this is: what the runs and the report say of it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Checkout(NamedTuple):
    """A git clone: the commit that is checked out, and whether the package differs from it."""

    commit: str
    changed: bool


@cache
def checkout() -> Checkout | None:
    """Return the clone that this code runs from; None where it runs from none."""
    folder = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *what], capture_output=True, text=True, check=True
            ).stdout.strip()
            for what in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", str(folder)])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Checkout(commit, bool(changes))
