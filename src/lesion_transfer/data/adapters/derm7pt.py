"""The public rendition of the Atlas: derm7pt, 1,011 lesions with a dermoscopy image each.

Source: https://derm.cs.sfu.ca (free registration; for research; Kawahara et al., IEEE JBHI 2018).
Layout, as unpacked, with or without the folder ``release_v0``::

    meta/meta.csv               case_num,diagnosis,…,location,sex,…,derm,case_id,…
                                                derm: a path below images/
    meta/{train,valid,test}_indexes.csv             indexes: lines of meta.csv, from 0
    images/NEL/Nel026.jpg …

252 melanomas (of six kinds, by depth), 42 basal cell carcinomas, 399 Clark, 79 Reed or Spitz, 33
dermal, 28 blue, 17 congenital, 13 combined and 6 recurrent nevi, 45 seborrheic keratoses, 29
vascular lesions, 24 lentigines, 20 dermatofibromas, 16 melanoses, 8 miscellaneous; 413 / 203 / 395
to train, validate and test. A case is a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.records import ImageRecord, canonical_diagnosis, patient
from lesion_transfer.data.tables import read_table

TABLES = ("meta/meta.csv", "release_v0/meta/meta.csv")
"""Where the release's table may be, below ``data_root``."""

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def read(root: Path, name: str) -> Iterator[ImageRecord]:
    """List the dermoscopy images of a release; clinical photographs are left out."""
    meta = next(root / table for table in TABLES if (root / table).is_file())
    images = meta.parents[1] / "images"
    splits = _splits(meta.parent)
    for number, row in enumerate(read_table(meta, ("case_num", "diagnosis", "derm"))):
        path = row.path_inside("derm", images)
        image = path.stem.casefold()  # as the paper's label and fold files write it
        yield ImageRecord(
            image_id=image,
            group_id=row.get("case_id") or row["case_num"] or image,
            diagnosis=canonical_diagnosis(row["diagnosis"]),
            dataset=name,
            path=path,
            split=splits.get(number, ""),
            **patient(sex=row.get("sex"), site=row.get("location")),
        )


def _splits(meta: Path) -> dict[int, str]:
    """Return the part of each line, where the release's lists of lines are there."""
    parts: dict[int, str] = {}
    for word, split in _SPLITS.items():
        table = meta / f"{word}_indexes.csv"
        for row in read_table(table, ("indexes",)) if table.is_file() else ():
            if not row["indexes"].isdecimal():
                raise row.refusal("indexes", "the number of a line of meta.csv, from 0")
            parts[int(row["indexes"])] = split
    return parts
