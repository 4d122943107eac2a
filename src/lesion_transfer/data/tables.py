"""CSV files with errors that name the file, the line and the column."""

from __future__ import annotations

import csv
import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesion_transfer.errors import UserError


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a CSV file; values without surrounding white space."""

    path: Path
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def get(self, column: str) -> str:
        """Return the value, or nothing where the file has no such column."""
        return self.values.get(column, "")

    def refusal(self, column: str, expected: str, next_step: str = "") -> UserError:
        """Return the error that refuses this row's value of ``column``."""
        return UserError(
            f"{self.path}, line {self.line}, column {column}: {self.get(column)!r}",
            expected=expected,
            next_step=next_step or "correct the line",
        )

    def path_inside(self, column: str, folder: Path) -> Path:
        """Return the path that ``column`` gives relative to ``folder``.

        Raises
        ------
        UserError
            It leaves the folder: a table must not make the platform read any file it names.
        """
        path = Path(os.path.normpath(folder / self[column]))
        if not path.is_relative_to(folder):
            raise self.refusal(
                column,
                f"a path inside {folder}",
                "move the pictures into that folder, or the table to the folder above them",
            )
        return path


def read_table(path: Path, required: Iterable[str], names: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a UTF-8 file, split at commas, or at tabs where its first line has some.

    Parameters
    ----------
    required
        The columns that there must be.
    names
        The columns of a file whose first line does not name them.

    Raises
    ------
    UserError
        The file cannot be read, lacks a required column, or has a line of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            header = list(names) or [name.strip() for name in next(reader, [])]
            _check_header(path, header, tuple(required))
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(fields)} values",
                        expected=f"{len(header)}, one for each of {', '.join(header)}",
                        next_step='correct the line; a value with a comma is put in "quotes"',
                    )
                values = dict(zip(header, (field.strip() for field in fields), strict=True))
                yield Row(path, reader.line_num, values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as a table: {error}",
            expected="a comma-separated file in UTF-8",
            next_step="save it again in this form; spreadsheets call it “CSV UTF-8”",
        ) from error


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if missing:
        raise UserError(
            f"{path}, line 1: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}",
            expected=f"the columns {', '.join(required)}, separated by commas or tabs",
            next_step="choose the target whose layout this is, or correct the first line",
        )
    if repeated:
        raise UserError(f"{path}, line 1: the column {', '.join(repeated)} occurs twice")
