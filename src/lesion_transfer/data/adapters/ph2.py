"""PH²: 200 dermoscopy images of melanocytic lesions, Hospital Pedro Hispano, Matosinhos.

Source: https://www.fc.up.pt/addi/ph2%20database.html (for research and education, on request;
Mendonça et al., EMBC 2013). Layout, as unpacked, with or without the folder ``PH2Dataset``::

    PH2_dataset.xlsx      below some lines of legend: Image Name, Common Nevus, Atypical Nevus,
                          Melanoma (X in one of the three), …
    PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp

80 common nevi, 80 atypical nevi, 40 melanomas. Patients are not told, so every image is a group.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis
from lesion_transfer.data.tables import Row
from lesion_transfer.errors import UserError

_WORKBOOK = "PH2_dataset.xlsx"
_PICTURES = "PH2 Dataset images"
_IMAGE = "Image Name"
_DIAGNOSES = ("Common Nevus", "Atypical Nevus", "Melanoma")


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    workbook = next(path for pattern in ADAPTER.requires for path in root.glob(pattern))
    folder = workbook.parent / _PICTURES
    if not folder.is_dir():
        raise UserError(f"{name}: {folder} does not exist", expected=ADAPTER.layout)
    for row in _rows(workbook):
        found = [column for column in _DIAGNOSES if row[column].upper() == "X"]
        if len(found) != 1:
            raise row.refusal(_DIAGNOSES[0], f"X in one of {', '.join(_DIAGNOSES)}")
        image = Path(row[_IMAGE]).name
        yield ImageRecord(
            image_id=image,
            group_id=image,
            diagnosis=canonical_diagnosis(found[0]),
            dataset=name,
            path=folder / image / f"{image}_Dermoscopic_Image" / f"{image}.bmp",
        )


def _rows(workbook: Path) -> Iterator[Row]:
    """Give the lines below the one that names the columns."""
    import pandas as pd  # half a second that --help and the other data sets need not wait

    try:
        cells = pd.read_excel(workbook, header=None, dtype=str, keep_default_na=False)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{workbook} cannot be read as a workbook: {error}", next_step=ADAPTER.obtain
        ) from error
    lines = [[str(cell).strip() for cell in line] for line in cells.itertuples(index=False)]
    columns = (_IMAGE, *_DIAGNOSES)
    head = next((n for n, line in enumerate(lines) if set(columns) <= set(line)), None)
    if head is None:
        raise UserError(f"{workbook}: no line names the columns {', '.join(columns)}")
    for number, line in enumerate(lines[head + 1 :], start=head + 2):
        values = {column: line[lines[head].index(column)] for column in columns}
        if values[_IMAGE]:
            yield Row(workbook, number, values)


ADAPTER = FileAdapter(
    name="ph2",
    layout=f"{_WORKBOOK} and {_PICTURES}/",
    read=_read,
    obtain="request PH2Dataset.rar at https://www.fc.up.pt/addi/ph2%20database.html and unpack it; "
    "data_root=<the folder with PH2_dataset.xlsx>",
    requires=(_WORKBOOK, f"PH2Dataset/{_WORKBOOK}"),
)
