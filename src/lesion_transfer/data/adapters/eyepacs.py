"""EyePACS, the Kaggle Diabetic Retinopathy Detection training set: retinas of levels 0–4.

Source: https://www.kaggle.com/c/diabetic-retinopathy-detection (the competition's rules: not to
be passed on). Layout: ``train/<id>.jpeg`` and ``trainLabels.csv`` (``image,level``), 35,126 images
of 17,563 patients, 25,810 / 2,443 / 5,292 / 873 / 708 of level 0 to 4.

The two eyes of a patient, ``<n>_left`` and ``<n>_right``, are one group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import read_table

_LEVELS = ("0", "1", "2", "3", "4")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for row in read_table(root / "trainLabels.csv", ("image", "level")):
        image = re.fullmatch(r"(\d+)_(left|right)", row["image"])
        if image is None:
            raise row.refusal("image", "<patient's number>_left or <patient's number>_right")
        if row["level"] not in _LEVELS:
            raise row.refusal("level", "0, 1, 2, 3 or 4")
        yield ImageRecord(
            image_id=image[0],
            group_id=image[1],
            diagnosis=f"level_{row['level']}",
            dataset=name,
            path=root / "train" / f"{image[0]}.jpeg",
        )


ADAPTER = FileAdapter(
    name="eyepacs",
    layout="trainLabels.csv and train/<id>.jpeg",
    read=_read,
    obtain="accept the rules at https://www.kaggle.com/c/diabetic-retinopathy-detection, download "
    "trainLabels.csv.zip and train.zip.001 to .005, join these (cat train.zip.* > train.zip) and "
    "unpack both; data_root=<that folder>",
    requires=("trainLabels.csv",),
    shows="retina",
)
