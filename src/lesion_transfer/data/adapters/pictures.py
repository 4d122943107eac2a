"""Picture files in folders, found by their ids."""

from __future__ import annotations

from pathlib import Path

from lesion_transfer.errors import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".ppm", ".pgm"}
)


def pictures_by_id(*folders: Path) -> dict[str, Path]:
    """Return every picture at any depth of ``folders`` by its name without suffix, in lower case.

    Archives and file systems disagree about case (``NEL/Nel026.JPG`` is ``nel026``), so ids are
    compared without it. Hidden files and what macOS adds to archives are left out.

    Raises
    ------
    UserError
        Two files have the same id: nobody could tell which one the label is for.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.suffix.lower() not in SUFFIXES or any(
                part.startswith((".", "__MACOSX")) for part in parts
            ):
                continue
            other = found.setdefault(path.stem.casefold(), path)
            if other != path:
                raise UserError(
                    f"two files are called {path.stem}: {other} and {path}",
                    expected="one picture for each id",
                    next_step="remove the one that the labels are not for",
                )
    return found
