"""What the ISIC challenges' archives share: parts with a table and a folder, one-hot labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lesion_transfer.data.tables import Row
from lesion_transfer.errors import UserError

URL = "https://challenge.isic-archive.com/data/"
"""Where the challenges' files are listed, with their licences."""

BUCKET = "s3://isic-challenge-data"
"""The public bucket that page links to; no account is needed."""


class Part(NamedTuple):
    """A part of an official split: the name of its table, and of its pictures' folder."""

    split: str
    table: str
    folder: str


def obtain(year: int) -> str:
    """Return how to get the files of a year's challenge."""
    return (
        f"data_root={BUCKET}/{year} fetches them; or download them from {URL}#{year} and unpack "
        "them into one folder under their own names"
    )


def present_parts(root: Path, parts: Iterable[Part]) -> Iterator[tuple[Part, Path, Path]]:
    """Give each part whose table is there, with its table and folder.

    Some archives hold their table in a folder of the table's name; both places are looked in.

    Raises
    ------
    UserError
        A part has its table but not its pictures.
    """
    for part in parts:
        table = find_table(root, part.table)
        if table is None:
            continue
        folder = root / part.folder
        if not folder.is_dir():
            raise UserError(
                f"{table} is there, but the folder {folder} is not",
                expected=f"{part.folder}/ with the pictures that {part.table} lists",
                next_step=f"unpack {part.folder}.zip into {root}, or take {part.table} away",
            )
        yield part, table, folder


def find_table(root: Path, name: str) -> Path | None:
    """Return the table's file: in the folder, or in a folder of its own name; None without it."""
    places = (root / name, root / Path(name).stem / name)
    return next((place for place in places if place.is_file()), None)


def need_table(root: Path, name: str, why: str) -> Path:
    """Return the table's file.

    Raises
    ------
    UserError
        It is not there; ``why`` says what for it is needed.
    """
    table = find_table(root, name)
    if table is None:
        raise UserError(f"{root / name} does not exist", expected=why, next_step=f"get it: {URL}")
    return table


def marked(row: Row, columns: Iterable[str]) -> str:
    """Return the one of ``columns`` that is 1 where the others are 0; nothing if all are 0.

    Raises
    ------
    UserError
        A value is neither 0 nor 1, or two are 1.
    """
    found = ""
    for column in columns:
        if row[column] not in ("0", "0.0", "1", "1.0"):
            raise row.refusal(column, "0.0 or 1.0")
        if row[column].startswith("1"):
            if found:
                raise row.refusal(column, f"0.0, for {found} is 1.0")
            found = column
    return found
