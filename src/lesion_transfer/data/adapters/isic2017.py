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

from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import Row, read_table
from lesion_transfer.errors import UserError

_PARTS = {"train": "Training", "validation": "Validation", "test": "Test_v2"}
_DIAGNOSES = ("melanoma", "seborrheic_keratosis")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    present = {
        split: root / f"ISIC-2017_{part}_Part3_GroundTruth.csv"
        for split, part in _PARTS.items()
        if (root / f"ISIC-2017_{part}_Part3_GroundTruth.csv").is_file()
    }
    if not present:
        raise UserError(
            f"{name}: {root} holds no ground truth",
            expected=ADAPTER.layout,
            next_step="unpack the challenge's files there under their own names",
        )
    for split, table in present.items():
        folder = root / f"ISIC-2017_{_PARTS[split]}_Data"
        if not folder.is_dir():
            raise UserError(f"{name}: {table.name} is there, but the folder {folder} is not")
        for row in read_table(table, ("image_id", *_DIAGNOSES)):
            image = row["image_id"]
            yield ImageRecord(
                image_id=image,
                group_id=image,
                diagnosis=_diagnosis(row),
                dataset=name,
                path=folder / f"{Path(image).name}.jpg",
                split=split,
            )


def _diagnosis(row: Row) -> str:
    found = []
    for column in _DIAGNOSES:
        if row[column] not in ("0", "0.0", "1", "1.0"):
            raise row.refusal(column, "0.0 or 1.0")
        if row[column].startswith("1"):
            found.append(column)
    if len(found) > 1:
        raise row.refusal(_DIAGNOSES[1], f"0.0, for {_DIAGNOSES[0]} is 1.0")
    return found[0] if found else "nevus"


ADAPTER = FileAdapter(
    name="isic2017",
    layout="ISIC-2017_Training_Part3_GroundTruth.csv, ISIC-2017_Training_Data/ and, where they are "
    "wanted, the same of Validation and Test_v2",
    read=_read,
)
