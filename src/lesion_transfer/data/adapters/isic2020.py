"""ISIC Challenge 2020 (SIIM): melanoma among 33,126 dermoscopy images of 2,056 patients.

Source: https://challenge.isic-archive.com/data/#2020 (CC BY-NC 4.0), the public bucket
``s3://isic-challenge-data/2020``, or https://www.kaggle.com/c/siim-isic-melanoma-classification.
Layout: a table with ``image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,
benign_malignant,target``, and its images::

    ISIC_2020_Training_GroundTruth_v2.csv (or, without lesion ids, …GroundTruth.csv)   official
    train/ISIC_0015719.jpg … (what ISIC_2020_Training_JPEG.zip unpacks to)
    train.csv, jpeg/train/ISIC_0015719.jpg …                                           Kaggle

584 melanomas (``target`` 1, the only malignant ones), 5,193 nevi, 135 seborrheic keratoses, 44
lentigines NOS, 37 lichenoid keratoses, 7 solar lentigines, a café-au-lait macule, an atypical
melanocytic proliferation, and 27,124 without diagnosis but known to be benign. The test part has
no labels.

A patient is a group; a lesion never has two. The official list of 425 duplicates is not read: the
leak guard finds such pictures by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.adapters.challenge import obtain
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis, patient
from lesion_transfer.data.tables import Row, read_table
from lesion_transfer.errors import UserError
from lesion_transfer.study import MELANOMA, UNKNOWN

_TABLES = (
    "ISIC_2020_Training_GroundTruth_v2.csv",
    "ISIC_2020_Training_GroundTruth.csv",
    "train.csv",
)
_FOLDERS = ("ISIC_2020_Training_JPEG/train", "ISIC_2020_Training_JPEG", "jpeg/train", "train")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    table = next(root / table for table in _TABLES if (root / table).is_file())
    folder = next((root / folder for folder in _FOLDERS if (root / folder).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{name}: {table.name} is there, but its images are not",
            expected=f"one of the folders {', '.join(_FOLDERS)} in {root}",
            next_step=f"unpack ISIC_2020_Training_JPEG.zip into {root}",
        )
    for row in read_table(table, ("image_name", "patient_id", "diagnosis", "target")):
        image = row["image_name"]
        yield ImageRecord(
            image_id=image,
            group_id=row["patient_id"] or row.get("lesion_id") or image,
            diagnosis=_diagnosis(row),
            dataset=name,
            path=folder / f"{Path(image).name}.jpg",
            split="train",
            **patient(
                row.get("age_approx"), row.get("sex"), row.get("anatom_site_general_challenge")
            ),
        )


def _diagnosis(row: Row) -> str:
    """Return the diagnosis, checked against ``target``."""
    diagnosis = canonical_diagnosis(row["diagnosis"])
    if row["target"] not in ("0", "1"):
        raise row.refusal("target", "0 or 1")
    if (diagnosis == MELANOMA) != (row["target"] == "1"):
        raise row.refusal("target", f"1 for melanoma alone; the diagnosis is {row['diagnosis']}")
    return "benign" if diagnosis == UNKNOWN else diagnosis


ADAPTER = FileAdapter(
    name="isic2020",
    layout="ISIC_2020_Training_GroundTruth_v2.csv and train/<image_name>.jpg, or Kaggle's "
    "train.csv and jpeg/train/",
    read=_read,
    obtain=obtain(2020),
    requires=_TABLES,
    downloads=(_TABLES[0], "ISIC_2020_Training_JPEG.zip"),
    unpacked=(*_TABLES[1:], *(folder.partition("/")[0] for folder in _FOLDERS)),
)
