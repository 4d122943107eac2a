"""ISIC Challenge 2018, task 3: seven diagnoses in dermoscopy.

Source: https://challenge.isic-archive.com/data/#2018 (CC BY-NC 4.0), the public bucket
``s3://isic-challenge-data/2018``. Official names, as unpacked, for Training, Validation and Test::

    ISIC2018_Task3_Training_Input/ISIC_0024306.jpg …
    ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv
    ISIC2018_Task3_Training_LesionGroupings.csv

The ground truth is one-hot (``image,MEL,NV,BCC,AKIEC,BKL,DF,VASC``). The training part is
HAM10000; its groupings (``image,lesion_id,…``) say which of its images show one lesion, and are
needed. The other parts have none: there, every image is a group.

==========  ======  =====  =====  ===  =====  =====  ===  ====
part        images    MEL     NV  BCC  AKIEC    BKL   DF  VASC
==========  ======  =====  =====  ===  =====  =====  ===  ====
training    10,015  1,113  6,705  514    327  1,099  115   142
validation     193     21    123   15      8     22    1     3
test         1,512    171    909   93     43    217   44    35
==========  ======  =====  =====  ===  =====  =====  ===  ====
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.adapters.challenge import (
    Part,
    marked,
    need_table,
    obtain,
    present_parts,
)
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis
from lesion_transfer.data.tables import read_table

_PARTS = tuple(
    Part(split, f"ISIC2018_Task3_{word}_GroundTruth.csv", f"ISIC2018_Task3_{word}_Input")
    for split, word in (("train", "Training"), ("validation", "Validation"), ("test", "Test"))
)
_GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
_DIAGNOSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for part, table, folder in present_parts(root, _PARTS):
        lesions = _lesions(root) if part.split == "train" else {}
        for row in read_table(table, ("image", *_DIAGNOSES)):
            image, found = row["image"], marked(row, _DIAGNOSES)
            if not found:
                raise row.refusal(_DIAGNOSES[0], f"1.0 in one of {', '.join(_DIAGNOSES)}")
            yield ImageRecord(
                image_id=image,
                group_id=lesions.get(image) or image,
                diagnosis=canonical_diagnosis(found),
                dataset=name,
                path=folder / f"{Path(image).name}.jpg",
                split=part.split,
            )


def _lesions(root: Path) -> dict[str, str]:
    table = need_table(root, _GROUPINGS, "the table that says which images show one lesion")
    return {row["image"]: row["lesion_id"] for row in read_table(table, ("image", "lesion_id"))}


ADAPTER = FileAdapter(
    name="isic2018",
    layout="ISIC2018_Task3_Training_GroundTruth.csv (or its folder), "
    f"ISIC2018_Task3_Training_Input/, {_GROUPINGS} and, where they are wanted, ground truth and "
    "input of Validation and Test",
    read=_read,
    obtain=obtain(2018),
    requires=tuple(f"**/{part.table}" for part in _PARTS),
    downloads=(
        *(f"{Path(part.table).stem}.zip" for part in _PARTS),
        *(f"{part.folder}.zip" for part in _PARTS),
        _GROUPINGS,
    ),
)
