"""APTOS 2019: 3,662 retinas of Aravind Eye Hospital, diabetic retinopathy of level 0–4.

Source: https://www.kaggle.com/c/aptos2019-blindness-detection (the competition's rules: not to be
passed on). Layout: ``train.csv`` (``id_code,diagnosis``) and ``train_images/<id_code>.png``;
1,805 / 370 / 999 / 193 / 295 of level 0 to 4. The test part has no labels.

Patients are not told, so every image is a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import read_table


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    for row in read_table(root / "train.csv", ("id_code", "diagnosis")):
        image = row["id_code"]
        if row["diagnosis"] not in ("0", "1", "2", "3", "4"):
            raise row.refusal("diagnosis", "0, 1, 2, 3 or 4")
        yield ImageRecord(
            image_id=image,
            group_id=image,
            diagnosis=f"level_{row['diagnosis']}",
            dataset=name,
            path=root / "train_images" / f"{Path(image).name}.png",
        )


ADAPTER = FileAdapter(
    name="aptos2019",
    layout="train.csv and train_images/<id_code>.png",
    read=_read,
    obtain="accept the rules at https://www.kaggle.com/c/aptos2019-blindness-detection, download "
    "the data there and unpack them; data_root=<that folder>",
    requires=("train.csv",),
    shows="retina",
)
