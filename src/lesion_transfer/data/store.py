"""The image store: a data set's pictures at one size, memory-mapped, with their index.

A store is a folder, complete or not there at all: it is built in a temporary sibling and renamed.

=================  ============================================================================
``images.npy``     (n, size, size, 3) uint8 RGB, in the order of the index
``index.parquet``  image_id, group_id, diagnosis, dataset, path, split; sorted by image_id
``rejected.csv``   image_id, path, reason: what could not be used
``manifest.json``  format, dataset, size, preparation, counts and digests
=================  ============================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.decode import RGB, BadImage, prepare
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation
from lesion_transfer.study import digest

FORMAT = 1
"""Part of every store's name. Raise it when stores would be written or prepared differently."""

COLUMNS = ("image_id", "group_id", "diagnosis", "dataset", "path", "split")

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and of all."""

_A_DAY = 86_400.0
_T = TypeVar("_T")
_R = TypeVar("_R")


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
    rejected
        image_id, path and reason of what could not be used.
    digest
        SHA-256 over the ids, groups, diagnoses, splits and pixels: equal content, equal digest,
        wherever and whenever it was built.
    counts
        Pictures per diagnosis.
    """

    path: Path
    dataset: str
    size: int
    images: np.memmap[Any, np.dtype[np.uint8]]
    index: pd.DataFrame
    rejected: pd.DataFrame
    digest: str
    counts: dict[str, int]


def build_store(
    dataset: Dataset,
    preparation: Preparation,
    root: Path,
    max_rejected: float = 0.01,
    progress: Progress | None = None,
    workers: int | None = None,
) -> ImageStore:
    """Return the store of a data set below ``root``; build it if it is not there.

    It is there when one was built from the same listing (labels, file sizes and times) with the
    same preparation. Any number of processes may build the same store at once: each builds its
    own, the first to finish is kept.

    Parameters
    ----------
    max_rejected
        Largest share of pictures that may be unusable, 0–1.
    workers
        Threads; by default one per core. They do not change the result.

    Raises
    ------
    UserError
        Too many pictures are unusable. No store is kept then, only the list of them.
    """
    request = digest(FORMAT, dataset.name, dataset.listing_digest, preparation)
    path = root / f"{dataset.name}-{preparation.size}px-{request[:12]}"
    if not path.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".part", dir=root))
        try:
            count, rejected = _write(
                temporary, dataset, preparation, progress, workers or os.cpu_count() or 1
            )
            listed = root / f"{path.name}.rejected.csv"
            shutil.copyfile(temporary / "rejected.csv", listed)
            _check_rejected(dataset.name, count, rejected, max_rejected, listed)
            listed.unlink(missing_ok=True)
            _publish(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    store = open_store(path)
    _check_rejected(
        dataset.name, len(store.index), store.rejected, max_rejected, path / "rejected.csv"
    )
    return store


def open_store(path: Path) -> ImageStore:
    """Open the store in a folder.

    Raises
    ------
    UserError
        The folder is no store, or one of another format.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, and not {FORMAT}")
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        index = pd.read_parquet(path / "index.parquet")
        if images.shape[0] != len(index):
            raise ValueError(f"{images.shape[0]} pictures, but {len(index)} rows")
        return ImageStore(
            path=path,
            dataset=manifest["dataset"],
            size=manifest["preparation"]["size"],
            images=images,
            index=index,
            rejected=pd.read_csv(path / "rejected.csv", dtype=str, keep_default_na=False),
            digest=manifest["digest"],
            counts=manifest["counts"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not an image store that can be read: {error}",
            expected="a folder written by the preprocess stage",
            next_step="delete the folder and run preprocess again",
        ) from error


def _write(
    folder: Path,
    dataset: Dataset,
    preparation: Preparation,
    progress: Progress | None,
    workers: int,
) -> tuple[int, pd.DataFrame]:
    """Write a whole store; return the number of its pictures, and the rejected ones."""
    accepted, rejected, pixels = _write_images(folder, dataset, preparation, progress, workers)
    index = pd.DataFrame([asdict(record) for record in accepted], columns=list(COLUMNS))
    index["path"] = [str(record.path or "") for record in accepted]
    index.to_parquet(folder / "index.parquet", index=False)
    rejected.to_csv(folder / "rejected.csv", index=False)
    rows = [(r.image_id, r.group_id, r.diagnosis, r.split) for r in accepted]
    manifest = {
        "format": FORMAT,
        "dataset": dataset.name,
        "preparation": preparation.model_dump(mode="json"),
        "count": len(accepted),
        "rejected": len(rejected),
        "counts": dict(sorted(Counter(record.diagnosis for record in accepted).items())),
        "digest": digest(preparation.size, rows, pixels),
        "listing_digest": dataset.listing_digest,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return len(accepted), rejected


def _write_images(
    folder: Path,
    dataset: Dataset,
    preparation: Preparation,
    progress: Progress | None,
    workers: int,
) -> tuple[list[ImageRecord], pd.DataFrame, str]:
    """Write the pictures in the records' order, however many threads prepare them.

    Returns the accepted records, the rejected ones with their reasons, and the pixels' SHA-256.
    """
    accepted: list[ImageRecord] = []
    rejected: list[tuple[str, str, str]] = []
    pixels = hashlib.sha256()
    total, shape = len(dataset.records), (preparation.size, preparation.size, 3)
    with (folder / "images.npy").open("wb") as file:
        _write_header(file, (total, *shape))
        results = _in_order(partial(_prepared, dataset, preparation), dataset.records, workers)
        for done, (record, result) in enumerate(zip(dataset.records, results, strict=True), 1):
            if isinstance(result, BadImage):
                rejected.append((record.image_id, str(record.path or ""), str(result)))
            else:
                accepted.append(record)
                content = result.tobytes()
                pixels.update(content)
                file.write(content)
            if progress:
                progress(done, total)
        file.seek(0)
        _write_header(file, (len(accepted), *shape))
    table = pd.DataFrame(rejected, columns=["image_id", "path", "reason"])
    return accepted, table, pixels.hexdigest()


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    # NumPy pads a header so that its first axis may grow: rewriting it keeps its length.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )


def _prepared(dataset: Dataset, preparation: Preparation, record: ImageRecord) -> RGB | BadImage:
    try:
        return prepare(dataset.load(record), preparation)
    except BadImage as reason:
        return reason


def _in_order(work: Callable[[_T], _R], items: Iterable[_T], workers: int) -> Iterator[_R]:
    """Map in threads, the results in order, no more than a few of them waiting in memory."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


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


def _publish(temporary: Path, path: Path) -> None:
    """Give a finished store its name, unless another process has been faster."""
    temporary.chmod(0o755)  # mkdtemp's folders are the user's alone
    try:
        temporary.rename(path)
    except OSError:
        if not (path / "manifest.json").is_file():
            raise


def _remove_abandoned(root: Path) -> None:
    """Remove what builders killed more than a day ago have left."""
    for folder in root.glob(".*.part"):
        touched = max((f.stat().st_mtime for f in (folder, *folder.glob("*"))), default=0.0)
        if time.time() - touched > _A_DAY:
            shutil.rmtree(folder, ignore_errors=True)
