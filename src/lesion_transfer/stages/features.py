"""Features as a table: ``image_id, split, label, feature``, one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lesion_transfer.errors import UserError

FEATURES_FILE = "features/features.parquet"
GROUP = 1024
"""Rows of a row group: what is in memory at a time, 16 MiB for 4,096 features."""

Matrix = npt.NDArray[np.float32]
Storage = Literal["float32", "float16"]


def write_features(
    path: Path,
    ids: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str],
    blocks: Iterable[Matrix],
    storage: Storage = "float32",
) -> None:
    """Write the table while its features come in.

    Parameters
    ----------
    ids, splits, labels
        (n,) each.
    blocks
        (rows, d) float32 each, any number of rows; n in all, in the order of ``ids``. They become
        fixed-size lists of d numbers.
    storage
        Type of these numbers.

    Raises
    ------
    UserError
        A feature is too large for float16.
    ValueError
        There are more or fewer rows than ids.
    """
    written = 0
    writer: pq.ParquetWriter | None = None
    try:
        for rows in _regrouped(blocks):
            part = slice(written, written + len(rows))
            table = pa.table(
                {
                    "image_id": pa.array(ids[part], pa.string()),
                    "split": pa.array(splits[part], pa.string()),
                    "label": pa.array(labels[part], pa.string()),
                    "feature": pa.FixedSizeListArray.from_arrays(
                        pa.array(_stored(rows, storage).ravel()), rows.shape[1]
                    ),
                }
            )
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            written += len(rows)
    finally:
        if writer is not None:
            writer.close()
    if written != len(ids):
        raise ValueError(f"{written} rows of features for {len(ids)} images")


def read_features(
    path: Path, wanted: npt.NDArray[np.int64] | None = None
) -> tuple[list[str], Matrix]:
    """Return image ids and features of a table on disk.

    Parameters
    ----------
    wanted
        Numbers of the rows to return, in this order; None: all.

    Returns
    -------
    list, ndarray
        (n,) ids, and (n, d) float32. Nothing else of the table is in memory but a row group.
    """
    with pq.ParquetFile(path) as file:
        ids: list[str] = file.read(["image_id"])["image_id"].to_pylist()
        rows = np.arange(len(ids)) if wanted is None else wanted
        found = np.empty((len(rows), file.schema_arrow.field("feature").type.list_size), np.float32)
        start = 0
        for batch in file.iter_batches(GROUP, columns=["feature"]):
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            values = batch["feature"].flatten().to_numpy(zero_copy_only=False)
            found[here] = values.reshape(len(batch), -1)[rows[here] - start]
            start += len(batch)
    return [ids[row] for row in rows], found


def _regrouped(blocks: Iterable[Matrix]) -> Iterator[Matrix]:
    """Yield the rows of all blocks by :data:`GROUP`; the last are fewer."""
    waiting: list[Matrix] = []
    for block in blocks:
        waiting.append(block)
        while sum(map(len, waiting)) >= GROUP:
            joined = np.concatenate(waiting)
            yield joined[:GROUP]
            waiting = [joined[GROUP:]]
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _stored(rows: Matrix, storage: Storage) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(rows, storage)
    if np.isinf(stored).any() and np.isfinite(rows).all():
        raise UserError(
            f"a feature is {np.abs(rows).max():g}, which float16 does not hold",
            expected=f"features of {np.finfo(np.float16).max:g} at most",
            next_step="leave extraction.features at float32 in the protocol",
        )
    return stored
