"""Building an image store: shard by shard, in several processes, never half.

A store is built in ``.building/<its name>`` and gets its place by being renamed. There every
finished shard has a file of rows beside it, written last; a killed build goes on from those. One
process builds a store at a time, the others wait for it.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from lesion_transfer import __version__
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.duplicates import find_duplicates, merged_groups
from lesion_transfer.data.fingerprints import HASH_BYTES, STRUCTURE_BYTES, collect
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.shards import (
    CHUNK,
    Chunk,
    Outcome,
    Picture,
    close_shard,
    create_shard,
    fill,
    rows_per_shard,
    write_header,
)
from lesion_transfer.data.store import (
    COLUMNS,
    FORMAT,
    MANIFEST,
    STATED,
    ImageStore,
    content_digest,
    describe_file,
    open_store,
    read_fingerprints,
)
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation
from lesion_transfer.study import digest

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and of all."""

BUILDING = ".building"
PROCESSES_FROM = 256
"""Files; fewer are prepared in threads, for a process takes a second to start."""

_TABLES = ("index.parquet", "hashes.npy", "structures.npy", "duplicates.csv", "rejected.csv")
_PRINT = "fingerprint"
_AHEAD = 64  # chunks given out, however many workers there are
_ABANDONED = 7 * 86_400.0  # seconds after which a build is not expected to go on
_VERSIONS = {
    "lesion_transfer": __version__,
    "simplejpeg": simplejpeg.__version__,
    "pillow": PIL.__version__,
    "opencv": cv2.__version__,
    "numpy": np.__version__,
}
"""What decided the pixels."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """A finished shard: its file, and what became of each of its records."""

    path: Path
    sha256: str
    outcomes: list[Picture | str]

    @property
    def rows(self) -> Path:
        """The file that says that it is finished; it has the fingerprints too."""
        return self.path.with_suffix(".rows")


def store_name(dataset: Dataset, preparation: Preparation) -> str:
    """Return the name of the store of a listing (labels, file sizes and times), so prepared."""
    steps = preparation.steps(dataset.shows)
    request = digest(FORMAT, dataset.name, dataset.listing_digest, preparation.size, steps)
    return f"{dataset.name}-{preparation.size}px-{request[:12]}"


def build_store(
    dataset: Dataset,
    preparation: Preparation,
    root: Path,
    max_rejected: float = 0.01,
    progress: Progress | None = None,
    workers: int | None = None,
) -> ImageStore:
    """Return the store of a data set below ``root``; build it if it is not there.

    Records with a path are read from it; the others are drawn by ``dataset.load``.

    Parameters
    ----------
    max_rejected
        Largest share of pictures that may be unusable, 0–1.
    workers
        Processes (threads, where pictures are few or drawn); by default one per core. They do not
        change the result.

    Raises
    ------
    UserError
        Too many pictures are unusable. No store is kept then, only the list of them.
    """
    name = store_name(dataset, preparation)
    path = root / name
    if not path.is_dir():
        _remove_abandoned(root / BUILDING)
        with alone(root, name) as folder:
            if not path.is_dir():
                _build(folder, dataset, preparation, max_rejected, progress, workers)
                folder.rename(path)
                for leftover in path.glob("*.rows"):
                    leftover.unlink()
    store = open_store(path)
    _check_rejected(
        dataset.name, len(store.index), store.rejected, max_rejected, path / "rejected.csv"
    )
    return store


@contextmanager
def alone(root: Path, name: str) -> Iterator[Path]:
    """Give the folder in which to make a store, once no other process is at work in it."""
    folder = root / BUILDING / name
    folder.mkdir(parents=True, exist_ok=True)
    with (root / BUILDING / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system gives it back, however the process ends
        folder.mkdir(exist_ok=True)  # the one before may have moved it away
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


# --- shards --------------------------------------------------------------------------------------


def _build(
    folder: Path,
    dataset: Dataset,
    preparation: Preparation,
    max_rejected: float,
    progress: Progress | None,
    workers: int | None,
) -> None:
    """Write a whole store into a folder that may hold finished shards of it."""
    each = rows_per_shard(preparation.size)
    parts = list(_batched(dataset.records, each))
    paths = [folder / f"images-{number:05}.npy" for number in range(len(parts))]
    shards = [_finished(path, len(part)) for path, part in zip(paths, parts, strict=True)]
    missing = [number for number, shard in enumerate(shards) if shard is None]
    total, left = len(dataset.records), sum(len(parts[number]) for number in missing)
    drawn = any(record.path is None for record in dataset.records)

    def chunks() -> Iterator[tuple[int, Chunk]]:
        steps, draw = preparation.steps(dataset.shows), dataset.load if drawn else None
        for number in missing:
            create_shard(paths[number], len(parts[number]), preparation.size)
            for row, records in enumerate(_batched(parts[number], CHUNK)):
                yield (
                    number,
                    Chunk(paths[number], row * CHUNK, records, preparation.size, steps, draw),
                )

    with _executor(workers or os.cpu_count() or 1, processes_for=0 if drawn else left) as pool:
        for number, results in groupby(_in_order(pool, chunks()), key=itemgetter(0)):
            outcomes: list[Outcome] = []
            for _, result in results:
                outcomes += result
                left -= len(result)
                if progress:
                    progress(total - left, total)
            shards[number] = _finish(paths[number], outcomes)
    _assemble(folder, dataset, preparation, [shard for shard in shards if shard], max_rejected)


def _finish(path: Path, outcomes: list[Outcome]) -> _Shard:
    """Close a filled shard, and write down that it is finished and what it holds."""
    sha256 = close_shard(path, [row for row, o in enumerate(outcomes) if not isinstance(o, str)])
    shard = _Shard(path, sha256, [o if isinstance(o, str) else o[0] for o in outcomes])
    pictures = [o if isinstance(o, Picture) else None for o in shard.outcomes]
    table = pa.table(
        {
            "file_sha256": [p and p.file_sha256 for p in pictures],
            "pixels_sha256": [p and p.pixels_sha256 for p in pictures],
            "reason": [o if isinstance(o, str) else None for o in outcomes],
            _PRINT: pa.array([None if isinstance(o, str) else o[1] for o in outcomes], pa.binary()),
        }
    )
    partial = path.with_suffix(".partial")
    pq.write_table(table.replace_schema_metadata({"sha256": sha256}), partial)
    partial.replace(shard.rows)
    return shard


def _finished(path: Path, length: int) -> _Shard | None:
    """Return a shard that an earlier, killed build has finished, if its file is still whole."""
    try:
        table = pq.read_table(path.with_suffix(".rows"))
        sha256 = table.schema.metadata[b"sha256"].decode()
        if len(table) != length or describe_file(path)["sha256"] != sha256:
            return None
        columns = [table[name].to_pylist() for name in ("file_sha256", "pixels_sha256", "reason")]
    except (OSError, pa.ArrowException, KeyError, TypeError):
        return None
    outcomes = [reason or Picture(*both) for *both, reason in zip(*columns, strict=True)]
    return _Shard(path, sha256, outcomes)


# --- workers -------------------------------------------------------------------------------------


@contextmanager
def _executor(workers: int, processes_for: int) -> Iterator[Executor]:
    """Give threads, or processes where there are enough files to be worth their start."""
    if processes_for < PROCESSES_FROM:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
        return
    # Not forked: a fork copies the locks of the threads that MLflow and OpenCV have running.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares pictures was killed",
                expected="enough memory: each needs up to 600 MB",
                next_step="run it again: finished shards are kept. If it is killed again in the "
                "same place, one of the next pictures crashes its decoder: remove it",
            ) from error


def _in_order(
    pool: Executor, chunks: Iterable[tuple[int, Chunk]]
) -> Iterator[tuple[int, list[Outcome]]]:
    """Yield each chunk's number and results, in order; a bounded number of them is under way."""
    waiting: deque[tuple[int, Future[list[Outcome]]]] = deque()
    try:
        for number, chunk in chunks:
            waiting.append((number, pool.submit(fill, chunk)))
            if len(waiting) > _AHEAD:
                number, future = waiting.popleft()
                yield number, future.result()
        while waiting:
            number, future = waiting.popleft()
            yield number, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _batched(records: Sequence[ImageRecord], length: int) -> Iterator[tuple[ImageRecord, ...]]:
    for start in range(0, len(records), length):
        yield tuple(records[start : start + length])


# --- the rest of the store -----------------------------------------------------------------------


def _assemble(
    folder: Path,
    dataset: Dataset,
    preparation: Preparation,
    shards: Sequence[_Shard],
    max_rejected: float,
) -> None:
    """Write what describes the pictures, the manifest last."""
    outcomes = [outcome for shard in shards for outcome in shard.outcomes]
    both = list(zip(dataset.records, outcomes, strict=True))
    bad = [(r.image_id, str(r.path or ""), o) for r, o in both if not isinstance(o, Picture)]
    rejected = pd.DataFrame(bad, columns=["image_id", "path", "reason"])
    listed = folder.parent.parent / f"{folder.name}.rejected.csv"
    rejected.to_csv(listed, index=False)
    try:
        _check_rejected(dataset.name, len(both) - len(bad), rejected, max_rejected, listed)
    except UserError:
        _forget_rejections(shards)
        raise
    listed.replace(folder / "rejected.csv")

    pictures = [(r, o) for r, o in both if isinstance(o, Picture)]
    _write_fingerprints(folder, shards, len(pictures))
    index = _index(pictures)
    duplicates = find_duplicates(index, read_fingerprints(folder))
    duplicates.to_csv(folder / "duplicates.csv", index=False)
    index["group_id"] = merged_groups(index, duplicates)
    index.to_parquet(folder / "index.parquet", index=False)

    files = {}
    for shard in shards:
        if any(isinstance(outcome, Picture) for outcome in shard.outcomes):
            files[shard.path.name] = {"bytes": shard.path.stat().st_size, "sha256": shard.sha256}
        else:
            shard.path.unlink()
    for name in _TABLES:
        files[name] = describe_file(folder / name)
    manifest = {
        "format": FORMAT,
        "dataset": dataset.name,
        "shows": dataset.shows,
        "preparation": {
            "size": preparation.size,
            "steps": [step.model_dump() for step in preparation.steps(dataset.shows)],
        },
        "versions": _VERSIONS,
        "count": len(index),
        "rejected": len(rejected),
        "duplicates": len(duplicates),
        "counts": dict(sorted(Counter(index["diagnosis"]).items())),
        "digest": content_digest(preparation.size, index),
        "listing_digest": dataset.listing_digest,
        "files": files,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _write_fingerprints(folder: Path, shards: Sequence[_Shard], count: int) -> None:
    """Gather the fingerprints of all shards, of which one is in memory at a time."""
    words = HASH_BYTES // 8
    with (
        (folder / "hashes.npy").open("wb") as hashes,
        (folder / "structures.npy").open("wb") as structures,
    ):
        write_header(hashes, np.dtype(np.uint64), (count, words))
        write_header(structures, np.dtype(np.int8), (count, STRUCTURE_BYTES))
        for shard in shards:
            column = pq.read_table(shard.rows, columns=[_PRINT])[_PRINT]
            prints = collect(column.drop_null().to_pylist())
            hashes.write(prints.hashes.tobytes())
            structures.write(prints.structures.tobytes())


def _index(pictures: Sequence[tuple[ImageRecord, Picture]]) -> pd.DataFrame:
    rows = [
        (
            record.image_id,
            record.group_id,
            record.diagnosis,
            record.dataset,
            str(record.path or ""),
            record.split,
            record.group_id,
            picture.file_sha256,
            picture.pixels_sha256,
        )
        for record, picture in pictures
    ]
    index = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in STATED:
        values = [getattr(record, name) for record, _ in pictures]
        if any(value not in (None, "") for value in values):
            index[name] = values
    return index


def _check_rejected(
    name: str, count: int, rejected: pd.DataFrame, max_rejected: float, listed: Path
) -> None:
    """Refuse a store with too many rejected pictures, or with no other."""
    total = count + len(rejected)
    if count and len(rejected) <= max_rejected * total:
        return
    first = "\n".join(
        f"  {path or image_id}: {reason}" for image_id, path, reason in rejected[:5].to_numpy()
    )
    raise UserError(
        f"{name}: {len(rejected)} of {total} images cannot be used, the first of them:\n{first}\n"
        f"All of them: {listed}",
        expected=f"at most {max_rejected:.1%} (max_rejected={max_rejected:g})",
        next_step="repair or remove these images, or raise max_rejected",
    )


def _forget_rejections(shards: Sequence[_Shard]) -> None:
    """Have the shards with rejected pictures made again: what was wrong may not be in the files."""
    for shard in shards:
        if not all(isinstance(outcome, Picture) for outcome in shard.outcomes):
            shard.rows.unlink()
            shard.path.unlink()


def _remove_abandoned(building: Path) -> None:
    """Remove what builders killed long ago have left."""
    for folder in building.glob("*/"):
        touched = max((f.stat().st_mtime for f in (folder, *folder.glob("*"))), default=0.0)
        if time.time() - touched > _ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)
