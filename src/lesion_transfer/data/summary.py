"""A data set in numbers: its mean picture, its channels, the classes of its folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion_transfer.data.designs import Indices, labels_for
from lesion_transfer.data.splits import Partition, five_by_two
from lesion_transfer.data.store import ImageStore
from lesion_transfer.errors import UserError
from lesion_transfer.study import Design

BALANCE_FILE = "fold_balance.csv"
"""In the data set's run, of the protocol's folds; in an arm's run, of the folds that it uses."""


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Of all pictures of a store.

    Attributes
    ----------
    mean_image
        (size, size, 3) float64, 0–255.
    mean, sd
        (3,) float64: of each channel, over pictures and pixels.
    """

    mean_image: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def pixel_statistics(store: ImageStore) -> PixelStatistics:
    """Read every picture once, in bounded memory."""
    total = np.zeros((store.size, store.size, 3), np.uint64)
    squares = np.zeros(3)
    for block in store.blocks():
        total += block.sum(axis=0, dtype=np.uint32)
        mean, sd = (np.ravel(value) for value in cv2.meanStdDev(block.reshape(1, -1, 3)))
        squares += len(block) * (mean**2 + sd**2)
    mean_image = total / len(store.images)
    mean = mean_image.mean(axis=(0, 1))
    variance = squares / len(store.images) - mean**2
    return PixelStatistics(mean_image, mean, np.sqrt(np.maximum(variance, 0)))


def balance(
    labels: Indices,
    classes: Sequence[str],
    groups: NDArray[np.object_],
    parts: Iterable[tuple[str, str, Indices]],
) -> pd.DataFrame:
    """Count the images and groups of every class in every part of every fold.

    Parameters
    ----------
    labels, groups
        (n,) of the images of one design: index into ``classes``, and what must not be split.
    parts
        Of folds, as :func:`fold_parts` gives them: the fold, the part (train or test), its rows.

    Returns
    -------
    A row for each of ``fold``, ``part`` and ``class``, with ``images``, ``groups``, and ``share``
    of the part's images.
    """
    table = [
        (fold, part, name, len(here), len(set(groups[here])), round(len(here) / len(rows), 4))
        for fold, part, rows in parts
        for number, name in enumerate(classes)
        for here in [rows[labels[rows] == number]]
    ]
    return pd.DataFrame(table, columns=["fold", "part", "class", "images", "groups", "share"])


def fold_parts(partitions: Iterable[Partition]) -> Iterator[tuple[str, str, Indices]]:
    """Yield name, part and rows of the training and test images of both folds of every repeat."""
    for partition in partitions:
        for half in (0, 1):
            fold = f"{partition.repeat}x{half + 1}"
            yield fold, "train", partition.halves[half]
            yield fold, "test", partition.halves[1 - half]


def balance_of_designs(index: pd.DataFrame, seed: int, repeats: int) -> pd.DataFrame:
    """Return the :func:`balance` of a protocol's own folds, for each ``design`` that applies.

    The parts of the official split, where there is one, are those of the fold ``official``. The
    table says the seed: a data set has one run, whatever seeds its experiments have.
    """
    tables = [pd.DataFrame(columns=["design"])]
    for design in Design:
        try:
            labels = labels_for(design, index)
            groups = index["group_id"].to_numpy(object)[labels.rows]
            halves = five_by_two(labels.labels, groups.tolist(), seed, repeats, labels.classes)
        except UserError:  # the data set is not one for this design
            continue
        splits = index["split"].to_numpy(object)[labels.rows]
        official = [
            ("official", part, np.flatnonzero(splits == part))
            for part in sorted(set(splits) - {""})
        ]
        parts = [*fold_parts(halves), *official]
        table = balance(labels.labels, labels.classes, groups, parts)
        table.insert(0, "design", design.value)
        table.insert(1, "seed", seed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
