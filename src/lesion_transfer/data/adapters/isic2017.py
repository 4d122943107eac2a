"""ISIC Challenge 2017, part 3: melanoma, seborrheic keratosis and nevus in dermoscopy.

Source: https://challenge.isic-archive.com/data/#2017 (CC-0). Official names, as unpacked::

    ISIC-2017_Training_Data/ISIC_0000000.jpg …     ISIC-2017_Training_Part3_GroundTruth.csv
    ISIC-2017_Validation_Data/…                    ISIC-2017_Validation_Part3_GroundTruth.csv
    ISIC-2017_Test_v2_Data/…                       ISIC-2017_Test_v2_Part3_GroundTruth.csv

The tables have ``image_id,melanoma,seborrheic_keratosis``, each 0.0 or 1.0; neither means nevus.

============  ======  ========  ====================  =====
part          images  melanoma  seborrheic keratosis  nevus
============  ======  ========  ====================  =====
training       2,000       374                   254  1,372
validation       150        30                    42     78
test             600       117                    90    393
============  ======  ========  ====================  =====

The archive does not say which images show one lesion, so every image is a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.adapters.challenge import Part, marked, obtain, present_parts
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import read_table

_PARTS = tuple(
    Part(split, f"ISIC-2017_{word}_Part3_GroundTruth.csv", f"ISIC-2017_{word}_Data")
    for split, word in (("train", "Training"), ("validation", "Validation"), ("test", "Test_v2"))
)
_DIAGNOSES = ("melanoma", "seborrheic_keratosis")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for part, table, folder in present_parts(root, _PARTS):
        for row in read_table(table, ("image_id", *_DIAGNOSES)):
            image = row["image_id"]
            yield ImageRecord(
                image_id=image,
                group_id=image,
                diagnosis=marked(row, _DIAGNOSES) or "nevus",
                dataset=name,
                path=folder / f"{Path(image).name}.jpg",
                split=part.split,
            )


ADAPTER = FileAdapter(
    name="isic2017",
    layout="ISIC-2017_Training_Part3_GroundTruth.csv, ISIC-2017_Training_Data/ and, where they are "
    "wanted, the same of Validation and Test_v2",
    read=_read,
    obtain=obtain(2017),
    requires=tuple(part.table for part in _PARTS),
    downloads=tuple(name for part in _PARTS for name in (part.table, f"{part.folder}.zip")),
)
