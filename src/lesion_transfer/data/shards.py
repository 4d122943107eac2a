"""Shards: the parts in which a store is built.

A shard is a ``.npy`` file of up to :func:`rows_per_shard` pictures. It is made at full length and
mapped; every worker, a process or a thread, is told paths, writes its own rows, and hands back only
what describes them. That goes to a file beside the finished shard, so that no more than one shard
is described in memory, and a later process can go on from there.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lesion_transfer.data.decode import RGB, BadImage, read_file
from lesion_transfer.data.fingerprints import fingerprint
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.steps import prepare, prepare_bytes
from lesion_transfer.data.store import describe_file
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
    """Make a shard of full length, its pictures still to come.

    Raises
    ------
    OSError
        There is no room for it. Found out now, and not in a worker: writing to a mapped file on a
        full disk kills the process.
    """
    shape = (rows, size, size, 3)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if sys.platform != "darwin":  # which has no such call
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


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


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard.

    Attributes
    ----------
    path
        The file of its pictures, (kept, size, size, 3) uint8.
    sha256
        Of that file.
    kept
        Pictures in it; the other records it was made from were rejected.
    """

    path: Path
    sha256: str
    kept: int

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Read some of ``file_sha256, pixels_sha256, reason, fingerprint``, a row per record.

        A rejected record has a reason alone, the others have everything else.
        """
        return _read_rows(self.path).select(list(columns))


def rows_file(shard: Path) -> Path:
    """Return the file that says that a shard is finished, and what became of its records."""
    return shard.with_suffix(".rows")


def _read_rows(shard: Path) -> pa.Table:
    """Map the rows: what is read of them counts for as long as it is used."""
    with pa.memory_map(str(rows_file(shard))) as file:
        return pa.ipc.open_file(file).read_all()


def finish_shard(path: Path, outcomes: Sequence[Outcome]) -> Shard:
    """Close a filled shard, and write down that it is finished and what it holds."""
    kept = [row for row, outcome in enumerate(outcomes) if not isinstance(outcome, str)]
    sha256 = _close(path, kept)
    pictures = [(None, None) if isinstance(o, str) else o for o in outcomes]
    table = pa.table(
        {
            "file_sha256": [p and p.file_sha256 for p, _ in pictures],
            "pixels_sha256": [p and p.pixels_sha256 for p, _ in pictures],
            "reason": pa.array([o if isinstance(o, str) else None for o in outcomes], pa.string()),
            "fingerprint": pa.array([print_ for _, print_ in pictures], pa.binary()),
        }
    )
    partial = path.with_suffix(".partial")
    table = table.replace_schema_metadata({"sha256": sha256})
    with pa.ipc.new_file(partial, table.schema) as file:
        file.write_table(table, max_chunksize=256)
    partial.replace(rows_file(path))
    return Shard(path, sha256, len(kept))


def finished_shard(path: Path, length: int) -> Shard | None:
    """Return a shard of ``length`` records that an earlier, killed build has finished.

    None where there is none, or where its file is no longer whole.
    """
    try:
        table = _read_rows(path)
        sha256 = table.schema.metadata[b"sha256"].decode()
        if len(table) != length or describe_file(path)["sha256"] != sha256:
            return None
        return Shard(path, sha256, table["reason"].null_count)
    except (OSError, pa.ArrowException, KeyError, TypeError):
        return None


def _close(path: Path, kept: Sequence[int]) -> str:
    """Keep only these rows (ascending) of a shard, see it to the disk, and return its SHA-256."""
    shape = np.load(path, mmap_mode="r").shape[1:]
    length = int(np.prod(shape))
    with path.open("r+b") as file:
        write_header(file, np.dtype(np.uint8), (len(kept), *shape))
        start = file.tell()
        for row, source in enumerate(kept):  # not mapped: it would all count as ours
            if row != source:
                file.seek(start + source * length)
                picture = file.read(length)
                file.seek(start + row * length)
                file.write(picture)
        file.truncate(start + len(kept) * length)
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
