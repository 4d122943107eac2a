"""Features as a table: ``image_id, split, label, feature``, one row an image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES_FILE = "features/features.parquet"


def to_table(
    ids: Iterable[str],
    splits: Iterable[str],
    labels: Iterable[str],
    features: npt.NDArray[np.float32],
) -> pa.Table:
    """Make the table; ``features`` (n, d) become fixed-size lists of float32."""
    flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
    return pa.table(
        {
            "image_id": pa.array(list(ids), pa.string()),
            "split": pa.array(list(splits), pa.string()),
            "label": pa.array(list(labels), pa.string()),
            "feature": pa.FixedSizeListArray.from_arrays(flat, features.shape[1]),
        }
    )


def read_features(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the image ids and the features (n, d) of a table on disk."""
    table = pq.read_table(path, columns=["image_id", "feature"]).combine_chunks()
    column = table["feature"].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    return table["image_id"].to_pylist(), values.reshape(len(column), -1)
