"""The run schema: every kind of run and every tag that code writes or reads, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SYSTEM_PREFIX = "lt."


class Kind(StrEnum):
    """What a run is a record of (tag ``lt.kind``)."""

    DATASET = "dataset"
    SOURCE = "source"
    FEATURES = "features"
    ARM = "arm"
    FOLD = "fold"
    EXTERNAL = "external"
    COMPARISON = "comparison"


class Tag(StrEnum):
    """Tags of every run beside the identity of its arm.

    A run's ``KEY`` says what it was made from. ``NETWORK_KEY`` and ``FEATURES_KEY`` are written
    when its network or features have been logged, so that other runs can use them. An arm's
    ``FOLDS`` names its complete folds with their results, so that tables need not read the folds.
    ``SEEN`` says what a network and all that it started from were trained on.
    """

    KIND = "lt.kind"
    KEY = "lt.key"
    STATE = "lt.state"
    OWNER = "lt.owner"
    ERROR = "lt.error"
    NETWORK_KEY = "lt.network_key"
    FEATURES_KEY = "lt.features_key"
    NETWORK_RUN = "lt.network_run"
    FEATURES_RUN = "lt.features_run"
    MODEL_RUN = "lt.model_run"
    ARM = "lt.arm"
    FOLDS = "lt.folds"
    FOLDS_EXPECTED = "lt.folds_expected"
    DATA_DIGEST = "lt.data_digest"
    SEEN = "lt.seen"
    STAND_IN = "lt.stand_in"
    CODE_CHANGED = "lt.code_changed"


STARTED = "started"
COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of work, as its run shows it.

    Attributes
    ----------
    kind, key
        What it is, and the digest of all that decides its result.
    name
        The run's name in the MLflow UI.
    description
        Markdown on the run's page.
    identity
        Flat names and values, logged as tags, which code queries, and as params, which the UI's
        charts use.
    params, tags
        Further ones, logged as what they are.
    """

    kind: Kind
    key: str
    name: str
    description: str
    identity: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def flat(values: dict[str, Any], prefix: str) -> dict[str, str]:
    """Flatten nested parameters to ``prefix.name``, as MLflow's filters and charts want them."""
    flattened: dict[str, str] = {}
    for name, value in values.items():
        path = f"{prefix}.{name}"
        flattened |= flat(value, path) if isinstance(value, dict) else {path: str(value)}
    return flattened
