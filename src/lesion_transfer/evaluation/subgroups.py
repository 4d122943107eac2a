"""How a model does on parts of a data set: by age, sex, site of the lesion, diagnosis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion_transfer.evaluation.bootstrap import RESAMPLES, intervals, replicates
from lesion_transfer.evaluation.predictions import Predictions

AGES = (0, 30, 50, 70)
"""Where the bands of age begin, years."""
DIAGNOSIS = "diagnosis"
NOT_STATED = "not stated"
COLUMNS = ("attribute", "value", "images", "groups", "metric", "estimate", "ci_low", "ci_high")


class Subgroup(NamedTuple):
    """Part of the pictures.

    Attributes
    ----------
    attribute, value
        What they share.
    members
        (n,) bool.
    scored
        (n,) bool: the pictures its metrics are computed on.
    """

    attribute: str
    value: str
    members: NDArray[np.bool_]
    scored: NDArray[np.bool_]


def subgroups(found: Predictions, attributes: pd.DataFrame) -> Iterator[Subgroup]:
    """Yield the parts of a data set, those of each attribute in order of the values.

    A diagnosis is of one class, of which alone nothing can be ranked: its pictures are scored
    against all those of the other classes.

    Parameters
    ----------
    attributes
        A row for each picture of ``found``. ``age`` in years becomes bands; of the other columns,
        each value is a subgroup. One that is missing or empty is "not stated".
    """
    for name in attributes.columns:
        values = _bands(attributes[name]) if name == "age" else _texts(attributes[name])
        for value in sorted(set(values)):
            members = values == value
            scored = members
            if name == DIAGNOSIS:
                own = np.unique(found.labels[members])
                scored = members | ~np.isin(found.labels, own)
            yield Subgroup(str(name), value, members, scored)


def subgroup_table(
    found: Predictions, attributes: pd.DataFrame, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Return every metric of every subgroup with its interval over resampled groups.

    One row a subgroup and metric, columns :data:`COLUMNS`; ``images`` and ``groups`` count the
    members. NaN where a subgroup lacks a class, or has too few pictures for an interval.
    """
    rows = []
    for part in subgroups(found, attributes):
        counts = (int(part.members.sum()), len(set(found.groups[part.members])))
        estimates = intervals(replicates([_part(found, part.scored)], resamples))
        rows += [
            (part.attribute, part.value, *counts, metric, *estimate)
            for metric, estimate in estimates.items()
        ]
    return pd.DataFrame(rows, columns=[*COLUMNS])


def _part(found: Predictions, rows: NDArray[np.bool_]) -> Predictions:
    return replace(
        found,
        images=found.images[rows],
        groups=found.groups[rows],
        labels=found.labels[rows],
        decision=found.decision[rows],
        probabilities=found.probabilities[rows],
    )


def _texts(values: pd.Series) -> NDArray[np.object_]:
    stated = values.notna() & (values.astype(str) != "")
    return values.astype(str).where(stated, NOT_STATED).to_numpy(object)


def _bands(ages: pd.Series) -> NDArray[np.object_]:
    names = [f"{low} to {high - 1}" for low, high in pairwise(AGES)]
    bands = pd.cut(
        pd.to_numeric(ages), [*AGES, np.inf], right=False, labels=[*names, f"{AGES[-1]} and over"]
    )
    return _texts(bands.astype(object))
