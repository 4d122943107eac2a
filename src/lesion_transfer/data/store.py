"""The image store: a data set's pictures at one size, memory-mapped, with all that describes them.

A store is a folder, complete or not there at all (:mod:`.build`), the same on a disk and on S3
(:mod:`.remote`).

====================  =========================================================================
``images-NNNNN.npy``  (n, size, size, 3) uint8 RGB, one after the other in the order of the index
``index.parquet``     a row per picture, sorted by image_id: :data:`COLUMNS`
``hashes.npy``        (n, 4) uint64, and
``structures.npy``    (n, 1764) int8: the pictures' :mod:`.fingerprints`
``duplicates.csv``    what is there twice: :data:`.duplicates.COLUMNS`
``rejected.csv``      image_id, path, reason: what could not be used
``manifest.json``     format, data set, preparation, versions, counts, digest, and every other
                      file's size and SHA-256
====================  =========================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion_transfer.data.fingerprints import Fingerprints
from lesion_transfer.data.images import Pictures
from lesion_transfer.errors import UserError
from lesion_transfer.study import digest

FORMAT = 3
"""Part of every store's name. Raise it when stores would be written or prepared differently."""

COLUMNS = (
    "image_id",
    "group_id",
    "diagnosis",
    "dataset",
    "path",
    "split",
    "original_group",
    "file_sha256",
    "pixels_sha256",
)
"""``group_id`` has the duplicates joined; ``original_group`` is what the data set says."""

STATED = ("age", "sex", "site")
"""Further columns, each only of a data set that states it, as in its records. Not in the digest."""

MANIFEST = "manifest.json"

_BLOCK_BYTES = 2**25


@dataclass(frozen=True, eq=False)
class ImageStore:
    """An image store, open for reading.

    Attributes
    ----------
    path
        Its folder.
    dataset
        Name of the data set.
    size
        Side of the pictures, pixels.
    images
        (n, size, size, 3) uint8 RGB, memory-mapped.
    index
        A row per picture, in the same order, with the columns :data:`COLUMNS`.
    fingerprints
        What recognises the pictures again; memory-mapped.
    duplicates
        Pictures that are there twice.
    rejected
        image_id, path and reason of what could not be used.
    digest
        SHA-256 over the ids, groups, diagnoses, splits and pixels: equal content, equal digest,
        wherever and whenever it was built.
    counts
        Pictures per diagnosis.
    manifest
        All that ``manifest.json`` says.
    """

    path: Path
    dataset: str
    size: int
    images: Pictures
    index: pd.DataFrame
    fingerprints: Fingerprints
    duplicates: pd.DataFrame
    rejected: pd.DataFrame
    digest: str
    counts: dict[str, int]
    manifest: dict[str, Any]

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all pictures in order, (k, size, size, 3), some 32 MB at a time.

        They are read and not mapped: mapped pages would count as this process's memory.
        """
        shape = (self.size, self.size, 3)
        at_once = max(1, _BLOCK_BYTES // prod(shape)) * prod(shape)
        for name in shard_names(self.manifest):
            with (self.path / name).open("rb") as file:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                while len(pixels := np.fromfile(file, np.uint8, at_once)):
                    yield pixels.reshape(-1, *shape)


def shard_names(manifest: dict[str, Any]) -> list[str]:
    """Return the names of a store's shards, in order."""
    return sorted(name for name in manifest["files"] if name.startswith("images-"))


def content_digest(size: int, index: pd.DataFrame) -> str:
    """Return the digest of a store's content."""
    total = hashlib.sha256(digest(size).encode())
    columns = ("image_id", "group_id", "diagnosis", "split", "pixels_sha256")
    for row in zip(*(index[column] for column in columns), strict=True):
        total.update(digest(row).encode())
    return total.hexdigest()


def open_store(path: Path, *, verify: bool = False) -> ImageStore:
    """Open the store in a folder.

    Parameters
    ----------
    verify
        Read every byte and compare it with the manifest's SHA-256.

    Raises
    ------
    UserError
        The folder is no store, one of another format, or damaged.
    """
    try:
        manifest = read_manifest(path)
        check_files(path, manifest, contents=verify)
        shards = [
            np.load(path / name, mmap_mode="r", allow_pickle=False)
            for name in shard_names(manifest)
        ]
        index = pd.read_parquet(path / "index.parquet")
        count = sum(map(len, shards))
        if count != len(index):
            raise ValueError(f"{count} pictures, but {len(index)} rows")
        size = manifest["preparation"]["size"]
        if verify and content_digest(size, index) != manifest["digest"]:
            raise ValueError("the index is not that of the manifest's digest")
        return ImageStore(
            path=path,
            dataset=manifest["dataset"],
            size=size,
            images=Pictures(shards),
            index=index,
            fingerprints=read_fingerprints(path),
            duplicates=pd.read_csv(
                path / "duplicates.csv",
                dtype={"image_id": str, "other_id": str},
                keep_default_na=False,  # an image may be called NA
            ),
            rejected=pd.read_csv(path / "rejected.csv", dtype=str, keep_default_na=False),
            digest=manifest["digest"],
            counts=manifest["counts"],
            manifest=manifest,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not an image store that can be read: {error}",
            expected="a folder written by the preprocess stage",
            next_step="delete the folder and run preprocess again",
        ) from error


def read_fingerprints(path: Path) -> Fingerprints:
    """Map the fingerprints in a store's folder."""
    return Fingerprints(
        *(
            np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in Fingerprints._fields
        )
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a store's manifest.

    Raises
    ------
    OSError, ValueError, KeyError
        It cannot be read, is another format's, or names files outside the store.
    """
    manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, and not {FORMAT}")
    for name in manifest["files"]:
        if Path(name).name != name or name in (MANIFEST, "", ".", ".."):
            raise ValueError(f"the manifest names a file {name!r}")
    return manifest


def describe_file(path: Path) -> dict[str, Any]:
    """Return what a manifest says of a file."""
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def check_files(path: Path, manifest: dict[str, Any], *, contents: bool) -> None:
    """Compare a store's files with its manifest: their sizes, and if wanted their SHA-256.

    Raises
    ------
    OSError, ValueError
        One is missing or another.
    """
    for name, stated in manifest["files"].items():
        if (path / name).stat().st_size != stated["bytes"]:
            raise ValueError(f"{name} has another size than the manifest says")
        if contents and describe_file(path / name) != stated:
            raise ValueError(f"{name} has another SHA-256 than the manifest says")
