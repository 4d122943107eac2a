"""Pictures of the user's own, listed in a CSV file.

``data_root`` is the file, or a folder with ``labels.csv`` in it. Columns: ``image_id``, ``path``
(relative to the file), ``diagnosis`` (any spelling that ``canonical_diagnosis`` knows); and, if
wanted, ``group_id`` (images of one lesion or patient share it; empty: the image itself), ``split``
(train, validation, test or empty), and ``age`` (years), ``sex`` and ``site``, for results by them.
A path that leaves the file's folder is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import SPLITS, ImageRecord, canonical_diagnosis, patient
from lesion_transfer.data.tables import read_table


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    table = root / "labels.csv" if root.is_dir() else root
    for row in read_table(table, ("image_id", "path", "diagnosis")):
        for column in ("image_id", "path", "diagnosis"):
            if not row[column]:
                raise row.refusal(column, "a value")
        if row.get("split") not in SPLITS:
            raise row.refusal("split", "train, validation, test or nothing")
        yield ImageRecord(
            image_id=row["image_id"],
            group_id=row.get("group_id") or row["image_id"],
            diagnosis=canonical_diagnosis(row["diagnosis"]),
            dataset=name,
            path=row.path_inside("path", table.parent),
            split=row.get("split"),
            **patient(row.get("age"), row.get("sex"), row.get("site")),
        )


ADAPTER = FileAdapter(
    name="csv",
    layout="a CSV file (or a folder with labels.csv) of image_id, path, diagnosis[, group_id]"
    "[, split, age, sex, site]",
    read=_read,
    own_name=True,
)
