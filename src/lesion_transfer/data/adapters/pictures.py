"""Picture files in folders, found by their ids."""

from __future__ import annotations

from pathlib import Path

from lesion_transfer.errors import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".ppm", ".pgm"}
)


def pictures_by_id(*folders: Path) -> dict[str, list[Path]]:
    """Return the pictures at any depth of ``folders`` by name without suffix, in lower case.

    Archives and file systems disagree about case (``NEL/Nel026.JPG`` is ``nel026``), so ids are
    compared without it. Hidden files and what macOS adds to archives are left out.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.suffix.lower() not in SUFFIXES or any(
                part.startswith((".", "__MACOSX")) for part in parts
            ):
                continue
            found.setdefault(path.stem.casefold(), []).append(path)
    return found


def picture_of(image: str, pictures: dict[str, list[Path]], otherwise: Path) -> Path:
    """Return an image's file among those of :func:`pictures_by_id`; ``otherwise`` without one.

    Raises
    ------
    UserError
        Two files have its id: nobody could tell which one the label is for.
    """
    found = pictures.get(image.casefold(), [otherwise])
    if len(found) > 1:
        raise UserError(
            f"two files are called {image}: {found[0]} and {found[1]}",
            expected="one picture for each id",
            next_step="remove the one that the labels are not for",
        )
    return found[0]
