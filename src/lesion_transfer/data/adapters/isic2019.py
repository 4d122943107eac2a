"""ISIC Challenge 2019: eight diagnoses in dermoscopy, from HAM10000, BCN20000 and MSK.

Source: https://challenge.isic-archive.com/data/#2019 (CC BY-NC 4.0), the public bucket
``s3://isic-challenge-data/2019``. Official names, as unpacked, for Training and Test::

    ISIC_2019_Training_Input/ISIC_0000000.jpg …, ISIC_0000002_downsampled.jpg …
    ISIC_2019_Training_GroundTruth.csv     image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK (one-hot)
    ISIC_2019_Training_Metadata.csv        image,age_approx,anatom_site_general,lesion_id,sex

========  ======  =====  ======  =====  ===  =====  ===  ====  ===  =====
part      images    MEL      NV    BCC   AK    BKL   DF  VASC  SCC    UNK
========  ======  =====  ======  =====  ===  =====  ===  ====  ===  =====
training  25,331  4,522  12,875  3,323  867  2,624  239   253  628      0
test       8,238  1,327   2,495    975  374    660   91   104  165  2,047
========  ======  =====  ======  =====  ===  =====  ===  ====  ===  =====

``UNK`` is none of the eight, malignant or not: ``unknown``, which lesion designs leave out. The
training metadata say which images show one lesion and are needed; 2,084 images have no lesion id
and are groups of their own, as are those of the test part. ``_downsampled`` in a name marks a
smaller copy of an archive's picture: it stays in the id, for it is in the tables, but a picture
and its smaller copy are one group.
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
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis, patient
from lesion_transfer.data.tables import Row, read_table

_PARTS = tuple(
    Part(split, f"ISIC_2019_{word}_GroundTruth.csv", f"ISIC_2019_{word}_Input")
    for split, word in (("train", "Training"), ("test", "Test"))
)
_NOTHING = Row(Path(), 0, {})
_METADATA = "ISIC_2019_Training_Metadata.csv"
_DIAGNOSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for part, table, folder in present_parts(root, _PARTS):
        metadata = _metadata(root) if part.split == "train" else {}
        for row in read_table(table, ("image", *_DIAGNOSES)):
            image, found = row["image"], marked(row, _DIAGNOSES)
            if not found:
                raise row.refusal(_DIAGNOSES[0], f"1.0 in one of {', '.join(_DIAGNOSES)}")
            about = metadata.get(image, _NOTHING)
            yield ImageRecord(
                image_id=image,
                group_id=about.get("lesion_id") or image.removesuffix("_downsampled"),
                diagnosis=canonical_diagnosis(found),
                dataset=name,
                path=folder / f"{Path(image).name}.jpg",
                split=part.split,
                **patient(
                    about.get("age_approx"), about.get("sex"), about.get("anatom_site_general")
                ),
            )


def _metadata(root: Path) -> dict[str, Row]:
    table = need_table(root, _METADATA, "the table that says which images show one lesion")
    return {row["image"]: row for row in read_table(table, ("image", "lesion_id"))}


ADAPTER = FileAdapter(
    name="isic2019",
    layout=f"ISIC_2019_Training_GroundTruth.csv, {_METADATA}, ISIC_2019_Training_Input/ and, "
    "where it is wanted, ground truth and input of Test",
    read=_read,
    obtain=obtain(2019),
    requires=tuple(part.table for part in _PARTS),
    downloads=(
        *(part.table for part in _PARTS),
        *(f"{part.folder}.zip" for part in _PARTS),
        _METADATA,
    ),
)
