"""Where a comparison comes from: what a reader needs to check it or to make it again."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

from lesion_transfer import __version__
from lesion_transfer.checkout import checkout
from lesion_transfer.stages.arms import StoredArm
from lesion_transfer.tracking import Tag

PACKAGES = ("mlflow", "keras", "scikit-learn", "numpy", "scipy", "pandas", "matplotlib")


def provenance(arms: Sequence[StoredArm], tracking_uri: str) -> dict[str, str]:
    """Describe the runs a report is made of, and the code that made it.

    Parameters
    ----------
    arms
        With their folds; at least one.
    tracking_uri
        Of their server; a password in it is left out.
    """
    folds = [fold for arm in arms for fold in arm.folds]
    newest = max(fold.start_time for fold in folds)
    versions = [f"{name} {version(name)}" for name in PACKAGES]
    return {
        "fold runs": f"{len(folds)}, the newest from "
        f"{datetime.fromtimestamp(newest / 1000, UTC):%Y-%m-%d %H:%M} UTC",
        "their code": _several(fold.code for fold in folds),
        "their data": _several(
            f"{arm.tags['dataset']} {arm.tags.get(Tag.DATA_DIGEST, 'unknown')[:16]}" for arm in arms
        ),
        "tracking server": without_password(tracking_uri),
        "this report's code": f"lesion_transfer {__version__}, {_clone()}",
        "packages": ", ".join([f"Python {platform.python_version()}", *versions]),
    }


def without_password(uri: str) -> str:
    """Return a URI without the user and password that it may carry."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _several(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _clone() -> str:
    found = checkout()
    if found is None:
        return "not in a git clone"
    return f"git {found.commit[:12]}{', with uncommitted changes' if found.changed else ''}"
