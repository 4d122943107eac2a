"""ISIC Challenge 2016 (ISBI), part 3: melanoma or not, in dermoscopy; the paper's second target.

Source: https://challenge.isic-archive.com/data/#2016 (CC-0), the public bucket
``s3://isic-challenge-data/2016``. Official names, as unpacked::

    ISBI2016_ISIC_Part3_Training_Data/ISIC_0000000.jpg …
    ISBI2016_ISIC_Part3_Training_GroundTruth.csv            ISIC_0000000,benign
    ISBI2016_ISIC_Part3_Test_Data/…
    ISBI2016_ISIC_Part3_Test_GroundTruth.csv                ISIC_0000003,0.0

The tables have no header; the training table says ``benign`` or ``malignant``, the test table 0.0
or 1.0. What the challenge calls malignant is melanoma; of what is benign it says no more.

========  ======  ========  ======
part      images  melanoma  benign
========  ======  ========  ======
training     900       173     727
test         379        75     304
========  ======  ========  ======

The archive does not say which images show one lesion, so every image is a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.adapters.challenge import Part, obtain, present_parts
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import read_table
from lesion_transfer.study import MELANOMA

_PARTS = tuple(
    Part(
        split,
        f"ISBI2016_ISIC_Part3_{word}_GroundTruth.csv",
        f"ISBI2016_ISIC_Part3_{word}_Data",
    )
    for split, word in (("train", "Training"), ("test", "Test"))
)
_DIAGNOSES = {
    "benign": "benign",
    "0": "benign",
    "0.0": "benign",
    "malignant": MELANOMA,
    "1": MELANOMA,
    "1.0": MELANOMA,
}


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for part, table, folder in present_parts(root, _PARTS):
        for row in read_table(table, (), names=("image", "label")):
            if row["label"] not in _DIAGNOSES:
                raise row.refusal("label", "benign, malignant, 0.0 or 1.0")
            image = row["image"]
            yield ImageRecord(
                image_id=image,
                group_id=image,
                diagnosis=_DIAGNOSES[row["label"]],
                dataset=name,
                path=folder / f"{Path(image).name}.jpg",
                split=part.split,
            )


ADAPTER = FileAdapter(
    name="isic2016",
    layout="ISBI2016_ISIC_Part3_Training_GroundTruth.csv, ISBI2016_ISIC_Part3_Training_Data/ and, "
    "where it is wanted, the same of Test",
    read=_read,
    obtain=obtain(2016),
    requires=tuple(part.table for part in _PARTS),
    downloads=tuple(name for part in _PARTS for name in (part.table, f"{part.folder}.zip")),
)
