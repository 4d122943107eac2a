"""Interactive Atlas of Dermoscopy (EDRA, 2000): the paper's target, from its CD or from derm7pt.

**The CD**, with the paper's label files. Source: Argenziano et al., *Interactive Atlas of
Dermoscopy*, EDRA 2000 (book and CD; all rights reserved). Layout: ``Images/**.jpg``, names in
mixed case, and beside it one or more of the label files (``image,level``), which decide what
belongs to the data set; the images' diagnoses follow from all files there are:

=================  ======  ===================================================================
file               images  levels
=================  ======  ===================================================================
``protocol1.csv``     975  1 malignant (307: melanoma, basal cell carcinoma), 0 benign (668)
``protocol2.csv``     933  1 melanoma (265), 0 benign (668); carcinomas are not listed
``protocol3.csv``     975  0 basal cell carcinoma (42), 1 melanoma (265), 2 benign (668)
=================  ======  ===================================================================

So ``protocol3.csv`` is enough, as are the other two together.

**derm7pt**, read where there is no label file: :mod:`.derm7pt`. A label file beside the release's
``images`` selects the paper's images from it.

An image ``<id>bis`` is another picture of the lesion of ``<id>``: one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lesion_transfer.data.adapters import derm7pt
from lesion_transfer.data.adapters.pictures import picture_of, pictures_by_id
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.tables import Row, read_table
from lesion_transfer.errors import UserError
from lesion_transfer.study import MELANOMA

_CARCINOMA = "basal_cell_carcinoma"
_NOT_LISTED = ""
_MEANING: Mapping[str, Mapping[str, frozenset[str]]] = {
    "protocol3.csv": {
        "0": frozenset({_CARCINOMA}),
        "1": frozenset({MELANOMA}),
        "2": frozenset({"benign"}),
    },
    "protocol2.csv": {
        "0": frozenset({"benign"}),
        "1": frozenset({MELANOMA}),
        _NOT_LISTED: frozenset({_CARCINOMA}),
    },
    "protocol1.csv": {
        "0": frozenset({"benign"}),
        "1": frozenset({MELANOMA, _CARCINOMA}),
    },
}
"""What a level of a file can mean."""


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    tables = [root / file for file in _MEANING if (root / file).is_file()]
    if not tables:
        yield from derm7pt.read(root, name)
        return
    folder = next(
        (path for path in sorted(root.iterdir()) if path.name.casefold() == "images"), None
    )
    if folder is None or not folder.is_dir():
        raise UserError(
            f"{name}: {root} has {tables[0].name}, but no folder Images",
            expected=ADAPTER.layout,
            next_step=ADAPTER.obtain,
        )
    pictures = pictures_by_id(folder)
    for image, diagnosis in diagnoses(tables).items():
        yield ImageRecord(
            image_id=image,
            group_id=image.removesuffix("bis"),
            diagnosis=diagnosis,
            dataset=name,
            path=picture_of(image, pictures, folder / f"{Path(image).name}.jpg"),
        )


def diagnoses(tables: list[Path]) -> dict[str, str]:
    """Return the diagnosis of every image of the paper's label files, by id in lower case.

    Raises
    ------
    UserError
        The files contradict each other, or do not tell melanomas from carcinomas.
    """
    levels = {table.name: _levels(table) for table in tables}
    found: dict[str, str] = {}
    for image, row in {k: row for rows in levels.values() for k, row in rows.items()}.items():
        possible = frozenset({MELANOMA, _CARCINOMA, "benign"})
        for file, rows in levels.items():
            level = rows[image]["level"] if image in rows else _NOT_LISTED
            possible &= _MEANING[file].get(level, frozenset())
        if not possible:
            raise UserError(
                f"{row.path}, line {row.line}: the label of {image} contradicts "
                f"{' and '.join(sorted(levels.keys() - {row.path.name})) or 'the format'}",
                expected="label files as published with the paper",
                next_step="restore the published files, or keep protocol3.csv alone",
            )
        if len(possible) > 1:
            raise UserError(
                f"{row.path}, line {row.line}: {image} is malignant, but {', '.join(levels)} does "
                "not say whether melanoma or carcinoma",
                expected="protocol3.csv, or protocol1.csv with protocol2.csv",
                next_step="put protocol3.csv beside it",
            )
        (found[image],) = possible
    return found


def _levels(table: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    allowed = [level for level in _MEANING[table.name] if level]
    for row in read_table(table, ("image", "level")):
        if row["level"] not in allowed:
            raise row.refusal("level", " or ".join(allowed))
        if rows.setdefault(row["image"].casefold(), row) is not row:
            raise row.refusal("image", "every image once")
    return rows


ADAPTER = FileAdapter(
    name="atlas",
    layout="the CD's Images/ and the paper's protocol3.csv, or the derm7pt release (images/ and "
    "meta/meta.csv)",
    read=_read,
    obtain="the Atlas is sold by EDRA as a book with a CD: copy its Images folder and put the "
    "paper's protocol3.csv beside it; or register at https://derm.cs.sfu.ca, download "
    "release_v0.zip and unpack it; data_root=<that folder>",
    requires=(*_MEANING, *derm7pt.TABLES),
)
