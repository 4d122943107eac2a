"""A data set in numbers: its mean picture, its channels, the classes of its folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion_transfer.data.designs import Indices, Labelled, labels_for
from lesion_transfer.data.splits import five_by_two
from lesion_transfer.data.store import ImageStore
from lesion_transfer.errors import UserError
from lesion_transfer.study import Design

_AT_ONCE = 256


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
    for shard in store.blocks():
        for start in range(0, len(shard), _AT_ONCE):
            block = shard[start : start + _AT_ONCE]
            total += block.sum(axis=0, dtype=np.uint32)
            mean, sd = (np.ravel(value) for value in cv2.meanStdDev(block.reshape(1, -1, 3)))
            squares += len(block) * (mean**2 + sd**2)
    mean_image = total / len(store.images)
    mean = mean_image.mean(axis=(0, 1))
    variance = squares / len(store.images) - mean**2
    return PixelStatistics(mean_image, mean, np.sqrt(np.maximum(variance, 0)))


def fold_balance(index: pd.DataFrame, seed: int, repeats: int) -> pd.DataFrame:
    """Count the images and groups of every class in every fold, for each design that applies.

    Returns
    -------
    A row for each of ``design, fold, part`` (train or test) and ``class``, with ``images``,
    ``groups`` and ``share`` of the part's images. The parts of the official split, where there is
    one, are those of the fold ``official``.
    """
    rows = [row for design in Design for row in _rows(design, index, seed, repeats)]
    columns = ["design", "fold", "part", "class", "images", "groups", "share"]
    return pd.DataFrame(rows, columns=columns)


def _rows(
    design: Design, index: pd.DataFrame, seed: int, repeats: int
) -> Iterator[tuple[object, ...]]:
    try:
        labelled = labels_for(design, index)
        groups = index["group_id"].to_numpy(object)[labelled.rows]
        partitions = five_by_two(labelled.labels, groups.tolist(), seed, repeats, labelled.classes)
    except UserError:  # the data set is not one for this design
        return
    for partition in partitions:
        for half in (0, 1):
            fold = f"{partition.repeat}x{half + 1}"
            for part, here in (("train", half), ("test", 1 - half)):
                yield from _part(design, fold, part, labelled, groups, partition.halves[here])
    splits = index["split"].to_numpy(object)[labelled.rows]
    for part in sorted(set(splits) - {""}):
        chosen = np.flatnonzero(splits == part)
        yield from _part(design, "official", part, labelled, groups, chosen)


def _part(
    design: Design,
    fold: str,
    part: str,
    labelled: Labelled,
    groups: NDArray[np.object_],
    rows: Indices,
) -> Iterator[tuple[object, ...]]:
    for number, name in enumerate(labelled.classes):
        here = rows[labelled.labels[rows] == number]
        share = round(len(here) / len(rows), 4)
        yield design.value, fold, part, name, len(here), len(set(groups[here])), share
