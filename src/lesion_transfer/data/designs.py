"""Labels: what a design makes of an index of images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion_transfer.errors import UserError
from lesion_transfer.study import Design

Indices = NDArray[np.int64]
"""(n,) int64: positions of rows, or labels."""


class Labelled(NamedTuple):
    """The images a design includes, with their labels.

    Attributes
    ----------
    rows
        (n,) int64, ascending: the included rows of the index.
    labels
        (n,) int64: for each of them, an index into ``classes``.
    classes
        Names; of two, the first is the negative class.
    """

    rows: Indices
    labels: Indices
    classes: tuple[str, ...]


def labels_for(design: Design, index: pd.DataFrame) -> Labelled:
    """Label the images of ``index`` (an image store's) by its column ``diagnosis``.

    Raises
    ------
    UserError
        The design does not know a diagnosis, or one of its classes has no image.
    """
    diagnoses = index["diagnosis"].astype(str)
    class_of = {diagnosis: design.class_of(diagnosis) for diagnosis in diagnoses.unique()}
    classes = design.classes(class_of)
    number = {diagnosis: classes.index(name) for diagnosis, name in class_of.items() if name}
    labels = diagnoses.map(number).fillna(-1).to_numpy(dtype=np.int64)
    rows = np.flatnonzero(labels >= 0)
    labels = labels[rows]
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing or len(classes) < 2:
        have = ", ".join(f"{name} {count}" for name, count in diagnoses.value_counts().items())
        lacking = f"has no image of {', '.join(missing)}" if missing else "has one class only"
        raise UserError(
            f"design={design.value}: the data set {lacking}; its diagnoses are {have}",
            expected="images of each of " + (", ".join(classes) if missing else "two classes"),
            next_step="choose a design whose classes the data set has"
            + (", for example design=melanoma_vs_benign" if "carcinoma" in missing else ""),
        )
    return Labelled(rows, labels, classes)


def graded(classes: Iterable[str]) -> bool:
    """Whether the classes are levels, ``level_0`` and so on, so that some are closer than others.

    Data sets of retinas have them; one of the user's own has where its labels say so.
    """
    return all(re.fullmatch(r"level_\d", name) for name in classes)
