"""A data set: its records, how their pictures are had, and a cheap digest of its listing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lesion_transfer.data.decode import RGB, BadImage, decode
from lesion_transfer.data.records import ImageRecord, validate_records
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Shows
from lesion_transfer.study import digest


@dataclass(frozen=True)
class Dataset:
    """A named collection of labelled pictures.

    Attributes
    ----------
    name
        What readers see, and the ``dataset`` of every record.
    records
        Validated and sorted by ``image_id``.
    listing_digest
        Changes when a label or a file changes; had without reading a pixel.
    load
        Gives a record's picture, (height, width, 3) uint8 RGB, or raises ``BadImage``. May be
        called from several threads.
    shows
        What the pictures show, which decides how they are prepared.
    """

    name: str
    records: Sequence[ImageRecord]
    listing_digest: str
    load: Callable[[ImageRecord], RGB]
    shows: Shows = "lesion"


class Adapter(Protocol):
    """What opens one data set, or one family of them."""

    @property
    def name(self) -> str:
        """The word that chooses it: ``target=<name>``."""

    def open(self, data_root: str | None, seed: int) -> Dataset:
        """Open the data set at ``data_root``; ``seed`` decides the pictures that are drawn."""


@dataclass(frozen=True)
class FileAdapter:
    """An adapter of files that lie in a folder.

    Attributes
    ----------
    name
        The word that chooses it. Where ``data_root`` has a folder of this name, that is the data
        set's, so several data sets can share one ``data_root``.
    layout
        What ``data_root`` must hold, for messages.
    read
        Lists the records; the argument exists.
    obtain
        Where the files come from and what to do with them, for messages.
    requires
        Glob patterns below the folder: without a match of any, it does not hold the data set.
    downloads
        The files' official names on the servers of their owner; a remote ``data_root`` is asked
        for these (and what they unpack to) alone. Empty: for all it has.
    unpacked
        What a copy of them on a server of one's own may be called besides; not asked for.
    own_name
        True where every ``data_root`` is another data set, named after its folder or file.
    shows
        What the pictures show, which decides how they are prepared.
    """

    name: str
    layout: str
    read: Callable[[Path, str], Iterable[ImageRecord]]
    obtain: str = ""
    requires: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()
    own_name: bool = False
    shows: Shows = "lesion"

    def open(self, data_root: str | None, seed: int) -> Dataset:
        """List the files at ``data_root``; ``seed`` is of no use here.

        Raises
        ------
        UserError
            ``data_root`` is missing or does not hold the layout.
        """
        if not data_root:
            raise UserError(
                f"{self.name}: data_root is not given",
                expected=f"data_root=<path> holding {self.layout}",
                next_step=self.obtain,
            )
        root = Path(os.path.abspath(Path(data_root).expanduser()))  # noqa: PTH100 - drops ".." too
        if not self.own_name and (root / self.name).is_dir():
            root /= self.name
        if not root.exists():
            raise UserError(
                f"{self.name}: data_root={data_root} does not exist",
                expected=self.layout,
                next_step=self.obtain or "check the path, and that the data set was unpacked there",
            )
        if self.requires and not any(any(root.glob(pattern)) for pattern in self.requires):
            raise UserError(
                f"{self.name}: {root} holds no {' and no '.join(self.requires)}",
                expected=self.layout,
                next_step=self.obtain,
            )
        name = self._dataset_name(root)
        records = validate_records(self.read(root, name), f"{self.name}: {root}")
        folder = root if root.is_dir() else root.parent
        return Dataset(name, records, listing_digest(name, records, folder), load_file, self.shows)

    def _dataset_name(self, root: Path) -> str:
        if not self.own_name:
            return self.name
        own = "".join(c if c.isalnum() else "_" for c in root.stem.lower()).strip("_")
        return f"{self.name}_{own}" if own else self.name


def load_file(record: ImageRecord) -> RGB:
    """Read the record's file.

    Raises
    ------
    BadImage
        It cannot be used.
    """
    if record.path is None:
        raise BadImage("no file")
    return decode(record.path)


def listing_digest(name: str, records: Iterable[ImageRecord], folder: Path) -> str:
    """Digest the labels and every file's path below ``folder``, size and modification time."""
    total = hashlib.sha256(digest(name).encode())
    for r in records:
        state = *_file_state(r.path, folder), *r.stated
        total.update(digest(r.image_id, r.group_id, r.diagnosis, r.split, *state).encode())
    return total.hexdigest()


def _file_state(path: Path | None, folder: Path) -> tuple[str, int, int]:
    if path is None:
        return "", -1, -1
    relative = path.relative_to(folder).as_posix()
    try:
        state = path.stat()
    except OSError:  # a labelled image without a file: rejected later, with its reason
        return relative, -1, -1
    if not os.access(path, os.R_OK):  # rejected too; once it may be read, it is another listing
        return relative, -1, -1
    return relative, state.st_size, state.st_mtime_ns
