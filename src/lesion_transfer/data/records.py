"""Image records: one row per labelled picture, in the platform's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypedDict, overload

import pyarrow as pa
import pyarrow.compute as pc

from lesion_transfer.errors import UserError
from lesion_transfer.study import UNKNOWN

SPLITS = ("", "train", "validation", "test")
"""The parts of an official split; empty where the data set has none."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One labelled picture.

    Attributes
    ----------
    image_id
        Unique within its data set.
    group_id
        The lesion, patient or eye that the picture shows; a group is never split.
    diagnosis
        Canonical name, see :func:`canonical_diagnosis`.
    dataset
        Name of the data set.
    path
        Absolute path of the file; None for a picture that is drawn and not read.
    split
        The part of the official split it belongs to, one of :data:`SPLITS`.
    age, sex, site
        Of the patient and the lesion, where the data set states them: years, ``female`` or
        ``male``, and a part of the body in snake case. They make subgroups and nothing else.
    """

    image_id: str
    group_id: str
    diagnosis: str
    dataset: str
    path: Path | None = None
    split: str = ""
    age: float | None = None
    sex: str = ""
    site: str = ""

    @property
    def stated(self) -> tuple[float | str, ...]:
        """Age, sex and site; nothing where none is stated."""
        age = "" if self.age is None else self.age
        return (age, self.sex, self.site) if self.age is not None or self.sex or self.site else ()


class Patient(TypedDict):
    """The fields of an :class:`ImageRecord` that describe a patient and a site."""

    age: float | None
    sex: str
    site: str


def patient(age: str = "", sex: str = "", site: str = "") -> Patient:
    """Read what a table says; what is no number of years, no sex or unknown is not stated.

    >>> patient("55.0", "F", "lower extremity")
    {'age': 55.0, 'sex': 'female', 'site': 'lower_extremity'}
    >>> patient("unknown", "NA", "")
    {'age': None, 'sex': '', 'site': ''}
    """
    words = {"f": "female", "female": "female", "m": "male", "male": "male"}
    place = snake_case(site)
    return Patient(
        age=float(age) if re.fullmatch(r"\d{1,3}(\.\d+)?", age) else None,
        sex=words.get(sex.casefold(), ""),
        site="" if place in ("na", "nan", "none", UNKNOWN) else place,
    )


_SCHEMA = pa.schema(
    [(name, pa.float64() if name == "age" else pa.string()) for name in ImageRecord.__slots__]
)
_AT_ONCE = 1024

_ALIASES = {
    "mel": "melanoma",
    "malignant_melanoma": "melanoma",
    "melanoma_in_situ": "melanoma",
    "melanoma_less_than_0_76_mm": "melanoma",
    "melanoma_0_76_to_1_5_mm": "melanoma",
    "melanoma_0_76_1_5_mm": "melanoma",
    "melanoma_more_than_1_5_mm": "melanoma",
    "melanoma_metastasis": "melanoma",
    "nv": "nevus",
    "melanocytic_nevus": "nevus",
    "common_nevus": "nevus",
    "dysplastic_nevus": "clark_nevus",
    "atypical_nevus": "clark_nevus",
    "reed_nevus": "spitz_nevus",
    "reed_or_spitz_nevus": "spitz_nevus",
    "bcc": "basal_cell_carcinoma",
    "scc": "squamous_cell_carcinoma",
    "ak": "actinic_keratosis",
    "akiec": "actinic_keratosis",
    "actinic_keratoses": "actinic_keratosis",
    "sk": "seborrheic_keratosis",
    "seborrhoeic_keratosis": "seborrheic_keratosis",
    "bkl": "benign_keratosis",
    "benign_keratosis_like_lesion": "benign_keratosis",
    "benign_keratosis_like_lesions": "benign_keratosis",
    "pigmented_benign_keratosis": "benign_keratosis",
    "df": "dermatofibroma",
    "vasc": "vascular_lesion",
    "vascular": "vascular_lesion",
    "vascular_lesions": "vascular_lesion",
    "unk": "unknown",
    "solar_lentigo": "lentigo",
    "lentigo_simplex": "lentigo",
    "lentigo_nos": "lentigo",
}


def snake_case(text: str) -> str:
    """Return ``text`` in lower case, its runs of other than letters and digits as one ``_``."""
    return re.sub(r"[\W_]+", "_", text.strip().lower()).strip("_")


def canonical_diagnosis(text: str) -> str:
    """Return the platform's name for a diagnosis.

    Abbreviations and spellings of the public archives become the names in
    ``study.LESION_DIAGNOSES``; any other name is kept in snake case, so that design ``native``
    accepts every label.

    >>> canonical_diagnosis("Basal Cell Carcinoma"), canonical_diagnosis("NV")
    ('basal_cell_carcinoma', 'nevus')
    """
    name = re.sub(r"(^|_)(nevi|naevi|naevus)$", r"\1nevus", snake_case(text))
    return _ALIASES.get(name, name)


class Records(Sequence[ImageRecord]):
    """Records in columns: an :class:`ImageRecord` is made when it is asked for.

    As objects, the records of a large archive would need several times the memory.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self._table.equals(other._table)

    def __hash__(self) -> int:
        return hash((len(self), self[0] if len(self) else None))

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[ImageRecord]:
        for batch in self._table.to_batches(max_chunksize=_AT_ONCE):
            for row in batch.to_pylist():
                yield ImageRecord(**row | {"path": row["path"] and Path(row["path"])})

    @overload
    def __getitem__(self, key: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, key: slice) -> Records: ...

    def __getitem__(self, key: int | slice) -> ImageRecord | Records:
        rows = range(len(self))[key]
        if isinstance(rows, int):
            return next(iter(Records(self._table.slice(rows, 1))))
        if rows.step == 1:
            return Records(self._table.slice(rows.start, len(rows)))
        return Records(self._table.take(pa.array(rows, pa.int64())))


def validate_records(records: Iterable[ImageRecord], where: str) -> Records:
    """Return the records sorted by ``image_id``, or refuse them.

    Parameters
    ----------
    where
        What they were read from, for the message.

    Raises
    ------
    UserError
        There is none, an ``image_id`` occurs twice, or a field is empty or unknown.
    """
    checked, batches = (_checked(record, where) for record in records), []
    while batch := list(islice(checked, _AT_ONCE)):
        batches.append(pa.RecordBatch.from_pylist(batch, _SCHEMA))
    if not batches:
        raise UserError(
            f"{where}: no labelled image",
            expected="at least one image with a label",
            next_step="check that data_root is the folder of the data set",
        )
    table = pa.Table.from_batches(batches).combine_chunks().sort_by("image_id")
    ids = table["image_id"]
    again = ids[1:].filter(pc.equal(ids[1:], ids[:-1])).unique().to_pylist()
    if again:
        raise UserError(
            f"{where}: {len(again)} image_id(s) occur more than once: {', '.join(again[:5])}",
            expected="every image_id once",
            next_step="remove the repeated rows, or give the images different ids",
        )
    return Records(table)


def _checked(record: ImageRecord, where: str) -> dict[str, str | float | None]:
    for field in ("image_id", "group_id", "diagnosis"):
        if not getattr(record, field):
            raise UserError(f"{where}: image {record.image_id!r} has an empty {field}")
    if record.split not in SPLITS:
        raise UserError(
            f"{where}: image {record.image_id!r} has split={record.split!r}",
            expected="train, validation, test or nothing",
        )
    path = record.path and str(record.path)
    try:
        f"{record.image_id}{path}".encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: the name of the file {path!r} is not UTF-8",
            expected="names that can be written into a table",
            next_step="rename the file",
        ) from error
    return {field: getattr(record, field) for field in _SCHEMA.names} | {"path": path}
