"""Pictures of the user's own, a directory per class: ``<data_root>/<diagnosis>/**/<picture>``.

The directory's name is the diagnosis, in any spelling that ``canonical_diagnosis`` knows. An
image's id is its path below ``data_root``; every image is a group of its own. Where several images
show one lesion or patient, use the ``csv`` adapter, which can say so. Hidden files, files that are
no pictures by their suffix and files beside the directories are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lesion_transfer.data.adapters.pictures import SUFFIXES
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.records import ImageRecord, canonical_diagnosis
from lesion_transfer.errors import UserError


def _read(root: Path, name: str) -> Iterator[ImageRecord]:
    if not root.is_dir():
        raise UserError(f"{name}: {root} is not a folder", expected=ADAPTER.layout)
    classes = (entry for entry in root.iterdir() if entry.is_dir())
    for folder, _, files in chain.from_iterable(os.walk(entry) for entry in classes):
        for path in (Path(folder, file) for file in files):
            relative = path.relative_to(root)
            hidden = any(part.startswith((".", "__")) for part in relative.parts)
            if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            yield ImageRecord(
                image_id=relative.as_posix(),
                group_id=relative.as_posix(),
                diagnosis=canonical_diagnosis(relative.parts[0]),
                dataset=name,
                path=path,
            )


ADAPTER = FileAdapter(
    name="folder", layout="a directory of pictures per class", read=_read, own_name=True
)
