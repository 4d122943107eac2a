"""HAM10000: 10,015 dermoscopy images of 7,470 common pigmented lesions, seven diagnoses.

Source: https://doi.org/10.7910/DVN/DBW86T (Harvard Dataverse, CC BY-NC 4.0; Tschandl et al.,
Scientific Data 2018). Layout::

    HAM10000_metadata.csv (on Dataverse HAM10000_metadata or .tab)
                                              lesion_id,image_id,dx,…,age,sex,localization
    HAM10000_images_part_1/ISIC_0027419.jpg …, HAM10000_images_part_2/… (or HAM10000_images/)

=====  =====  =====  ===  =====  ====  ===
   nv    mel    bkl  bcc  akiec  vasc   df
=====  =====  =====  ===  =====  ====  ===
6,705  1,113  1,099  514    327   142  115
=====  =====  =====  ===  =====  ====  ===

``akiec`` (actinic keratoses and intraepithelial carcinoma) counts as actinic keratosis. A lesion
is a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.adapters.pictures import picture_of, pictures_by_id
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis, patient
from lesion_transfer.data.tables import read_table
from lesion_transfer.errors import UserError

_TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
_DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    table = next(root / table for table in _TABLES if (root / table).is_file())
    folders = sorted(path for path in root.glob("HAM10000_images*") if path.is_dir())
    if not folders:
        raise UserError(
            f"{name}: {table.name} is there, but no folder HAM10000_images… is",
            expected=ADAPTER.layout,
            next_step=f"unpack both archives of images into {root}, each into a folder of its name",
        )
    pictures = pictures_by_id(*folders)
    for row in read_table(table, ("lesion_id", "image_id", "dx")):
        image = row["image_id"]
        if row["dx"] not in _DIAGNOSES:
            raise row.refusal("dx", ", ".join(_DIAGNOSES))
        yield ImageRecord(
            image_id=image,
            group_id=row["lesion_id"],
            diagnosis=canonical_diagnosis(row["dx"]),
            dataset=name,
            path=picture_of(image, pictures, folders[0] / f"{Path(image).name}.jpg"),
            **patient(row.get("age"), row.get("sex"), row.get("localization")),
        )


ADAPTER = FileAdapter(
    name="ham10000",
    layout="HAM10000_metadata.csv and HAM10000_images_part_1/, HAM10000_images_part_2/",
    read=_read,
    obtain="download HAM10000_metadata and the two archives of images from "
    "https://doi.org/10.7910/DVN/DBW86T and unpack them into one folder; data_root=<that folder>",
    requires=_TABLES,
)
