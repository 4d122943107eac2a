"""Building an image store: shard by shard, in several processes, never half.

A store is built in ``.building/<its name>`` and gets its place by being renamed. There every
finished shard has a file of rows beside it, written last; a killed build goes on from those. One
process builds a store at a time, the others wait for it.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Thread

import cv2

from lesion_transfer.data.archives import require_room
from lesion_transfer.data.assemble import assemble, check_rejected
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.shards import (
    CHUNK,
    Chunk,
    Outcome,
    create_shard,
    fill,
    finish_shard,
    finished_shard,
    rows_per_shard,
)
from lesion_transfer.data.store import FORMAT, ImageStore, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation
from lesion_transfer.study import digest

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and of all."""

BUILDING = ".building"
PROCESSES_FROM = 256
"""Files; fewer are prepared in threads, for a process takes a second to start."""

_AHEAD = 64  # chunks given out, however many workers there are
_ABANDONED = 7 * 86_400.0  # seconds after which a build is not expected to go on


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
        Too many pictures are unusable. No store is kept then, only the list of them. Or the disk
        has no room for it.
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
    check_rejected(
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
    parts = [
        dataset.records[start : start + each] for start in range(0, len(dataset.records), each)
    ]
    paths = [folder / f"images-{number:05}.npy" for number in range(len(parts))]
    shards = [finished_shard(path, len(part)) for path, part in zip(paths, parts, strict=True)]
    missing = [number for number, shard in enumerate(shards) if shard is None]
    total, left = len(dataset.records), sum(len(parts[number]) for number in missing)
    require_room(f"the image store of {dataset.name}", folder, left * 3 * preparation.size**2)
    drawn = any(record.path is None for record in dataset.records)

    def chunks() -> Iterator[tuple[int, Chunk]]:
        steps, draw = preparation.steps(dataset.shows), dataset.load if drawn else None
        for number in missing:
            create_shard(paths[number], len(parts[number]), preparation.size)
            for row in range(0, len(parts[number]), CHUNK):
                records = tuple(parts[number][row : row + CHUNK])
                yield number, Chunk(paths[number], row, records, preparation.size, steps, draw)

    with _executor(workers or os.cpu_count() or 1, processes_for=0 if drawn else left) as pool:
        for number, results in groupby(_in_order(pool, chunks()), key=itemgetter(0)):
            outcomes: list[Outcome] = []
            for _, result in results:
                outcomes += result
                left -= len(result)
                if progress:
                    progress(total - left, total)
            shards[number] = finish_shard(paths[number], outcomes)
    finished = [(part, shard) for part, shard in zip(parts, shards, strict=True) if shard]
    assemble(folder, dataset, preparation, finished, max_rejected)


# --- workers -------------------------------------------------------------------------------------


@contextmanager
def _executor(workers: int, processes_for: int) -> Iterator[Executor]:
    """Give threads, or processes where there are enough files to be worth their start."""
    if processes_for < PROCESSES_FROM:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
        return
    # Not forked: a fork copies the locks of the threads that MLflow and OpenCV have running.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _begin_worker) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares pictures was killed",
                expected="enough memory: 600 MB each, and more for large pictures that are no JPEG",
                next_step="run it again: finished shards are kept. If it is killed again in the "
                "same place, one of the next pictures crashes its decoder: remove it",
            ) from error


def _begin_worker() -> None:
    cv2.setNumThreads(1)  # more would compete with the other workers
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the builder is killed: it would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


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


def _remove_abandoned(building: Path) -> None:
    """Remove what builders killed long ago have left."""
    for folder in building.glob("*/"):
        try:
            touched = max(file.stat().st_mtime for file in (folder, *folder.glob("*")))
        except FileNotFoundError:  # another builder is at work in it
            continue
        if time.time() - touched > _ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)
