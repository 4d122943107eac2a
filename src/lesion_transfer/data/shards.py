"""Preparing pictures into a shard: what a worker does, in a process or a thread.

A shard is a ``.npy`` file of up to :func:`rows_per_shard` pictures. It is made at full length and
mapped; every worker is told paths, writes its own rows, and hands back only what describes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesion_transfer.data.decode import RGB, BadImage, read_file
from lesion_transfer.data.fingerprints import fingerprint
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.steps import prepare, prepare_bytes
from lesion_transfer.protocols import Step

CHUNK = 32
"""Records that a worker is given at once."""

_SHARD_BYTES = 2**27
_MOST_ROWS = 4096

Draw = Callable[[ImageRecord], RGB]


@dataclass(frozen=True, slots=True)
class Picture:
    """What identifies a stored picture: SHA-256 of its file and of its pixels."""

    file_sha256: str
    pixels_sha256: str


Outcome = tuple[Picture, bytes] | str
"""A stored picture with its fingerprint, or the reason why a record has none."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records to be prepared into consecutive rows of a shard, from ``row`` on."""

    shard: Path
    row: int
    records: tuple[ImageRecord, ...]
    size: int
    steps: tuple[Step, ...]
    draw: Draw | None = None


def rows_per_shard(size: int) -> int:
    """Return how many pictures a shard has: 128 MB of them, at most 4,096."""
    return max(1, min(_MOST_ROWS, _SHARD_BYTES // (size * size * 3)))


def create_shard(path: Path, rows: int, size: int) -> None:
    """Make a shard of full length, its pictures still to come."""
    shape = (rows, size, size, 3)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def fill(chunk: Chunk) -> list[Outcome]:
    """Prepare a chunk's pictures into their rows, and say what became of each record."""
    last = chunk.row + len(chunk.records)
    rows = np.lib.format.open_memmap(chunk.shard, mode="r+")[chunk.row : last]
    outcomes: list[Outcome] = []
    for row, record in zip(rows, chunk.records, strict=True):
        try:
            outcomes.append(_fill_row(row, record, chunk))
        except BadImage as reason:
            outcomes.append(str(reason))
    return outcomes


def _fill_row(row: RGB, record: ImageRecord, chunk: Chunk) -> tuple[Picture, bytes]:
    if record.path is not None:
        content = read_file(record.path)
        picture = prepare_bytes(content, chunk.size, chunk.steps)
    elif chunk.draw is not None:
        drawn = chunk.draw(record)
        content = drawn.tobytes()
        picture = prepare(drawn, chunk.size, chunk.steps)
    else:
        raise BadImage("no file")
    row[...] = picture
    pixels = hashlib.sha256(picture.tobytes())
    identity = Picture(hashlib.sha256(content).hexdigest(), pixels.hexdigest())
    return identity, fingerprint(picture)


def close_shard(path: Path, kept: Sequence[int]) -> str:
    """Keep only these rows (ascending) of a shard, see it to the disk, and return its SHA-256."""
    rows = np.lib.format.open_memmap(path, mode="r+")
    shape = (len(kept), *rows.shape[1:])
    if len(kept) < len(rows):
        for row, source in enumerate(kept):
            rows[row] = rows[source]
    del rows
    with path.open("r+b") as file:
        if shape[0]:
            write_header(file, np.dtype(np.uint8), shape)
            file.truncate(file.tell() + int(np.prod(shape)))
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Begin a ``.npy`` file, or change its length.

    NumPy pads a header so that its first axis may change: rewriting it keeps its length.
    """
    described = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
