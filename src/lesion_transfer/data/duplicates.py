"""The leak guard within a data set: pictures that are there twice join one group before splitting.

A group is never split (:mod:`.splits`), so after this no picture can be on both sides of a fold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesion_transfer.data.fingerprints import Fingerprints, correlations, similar_pairs

COLUMNS = ("image_id", "other_id", "kind", "correlation", "same_group", "same_diagnosis")
"""Of the table of duplicates; ``kind`` is one of :data:`KINDS`."""

KINDS = ("same file", "same pixels", "similar")


def find_duplicates(index: pd.DataFrame, fingerprints: Fingerprints) -> pd.DataFrame:
    """List the pictures that are there twice, with the columns :data:`COLUMNS`.

    Of pictures with the same pixels each is paired with the first of them only, and that one alone
    is compared with the rest.

    Parameters
    ----------
    index
        A store's: image_id, group_id, diagnosis, file_sha256, pixels_sha256.
    fingerprints
        Of its pictures, in the same order.
    """
    codes, _ = pd.factorize(index["pixels_sha256"])
    _, first = np.unique(codes, return_index=True)
    representative = first[codes]
    copies = np.flatnonzero(representative != np.arange(len(index)))
    exact = np.stack([representative[copies], copies], axis=1)
    hashes = np.zeros_like(fingerprints.hashes)  # a copy is similar to none
    hashes[first] = fingerprints.hashes[first]
    similar = similar_pairs(fingerprints._replace(hashes=hashes))
    pairs = np.concatenate([exact, similar])
    a, b = (index.iloc[pairs[:, side]].reset_index(drop=True) for side in (0, 1))
    kinds = np.where(
        a["pixels_sha256"] != b["pixels_sha256"],
        KINDS[2],
        np.where(a["file_sha256"] == b["file_sha256"], KINDS[0], KINDS[1]),
    )
    table = pd.DataFrame(
        {
            "image_id": a["image_id"],
            "other_id": b["image_id"],
            "kind": kinds,
            "correlation": correlations(fingerprints, fingerprints, pairs).round(3),
            "same_group": a["group_id"] == b["group_id"],
            "same_diagnosis": a["diagnosis"] == b["diagnosis"],
        },
        columns=list(COLUMNS),
    )
    table.loc[table["kind"] != KINDS[2], "correlation"] = 1.0
    return table.sort_values(["image_id", "other_id"], ignore_index=True)


def merged_groups(index: pd.DataFrame, duplicates: pd.DataFrame) -> pd.Series:
    """Return each picture's group once duplicates share one: the first id of those that merge."""
    numbers, groups = pd.factorize(index["group_id"], sort=True)
    twice = index["image_id"].isin(pd.concat([duplicates["image_id"], duplicates["other_id"]]))
    number_of = dict(zip(index["image_id"][twice], numbers[twice].tolist(), strict=True))
    ends = [
        duplicates[column].map(number_of).to_numpy(np.int64) for column in ("image_id", "other_id")
    ]
    merged = groups.take(_first_of_component(len(groups), ends)[numbers])
    return pd.Series(merged, index.index)


def _first_of_component(count: int, ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    links = coo_array((np.ones(len(ends[0]), bool), (ends[0], ends[1])), shape=(count, count))
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)  # groups are sorted: the first id
    chosen: NDArray[np.int64] = first[component]
    return chosen
