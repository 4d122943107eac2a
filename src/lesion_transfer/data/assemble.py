"""The rest of a store, once its shards are finished: all that describes the pictures.

The shards' rows are read one shard at a time; what grows with the data set is the index alone, in
Arrow columns.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from lesion_transfer import __version__
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.duplicates import find_duplicates, merged_groups
from lesion_transfer.data.fingerprints import HASH_BYTES, STRUCTURE_BYTES, collect
from lesion_transfer.data.records import ImageRecord
from lesion_transfer.data.shards import Shard, rows_file, write_header
from lesion_transfer.data.store import (
    COLUMNS,
    FORMAT,
    MANIFEST,
    STATED,
    content_digest,
    describe_file,
    read_fingerprints,
)
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation

_TABLES = ("index.parquet", "hashes.npy", "structures.npy", "duplicates.csv", "rejected.csv")
_INDEX = pa.schema(
    [
        (column, pa.float64() if column == "age" else pa.large_string())  # large: as pandas has it
        for column in (*COLUMNS, *STATED)
    ]
)
_ROWS_AT_ONCE = 65_536
_VERSIONS = {
    "lesion_transfer": __version__,
    "simplejpeg": simplejpeg.__version__,
    "pillow": PIL.__version__,
    "opencv": cv2.__version__,
    "numpy": np.__version__,
}
"""What decided the pixels."""

Part = tuple[Sequence[ImageRecord], Shard]
"""A finished shard and the records it was made from."""


def assemble(
    folder: Path,
    dataset: Dataset,
    preparation: Preparation,
    parts: Sequence[Part],
    max_rejected: float,
) -> None:
    """Write what describes the pictures into the folder of their shards, the manifest last.

    Raises
    ------
    UserError
        Too many pictures are unusable. Their list is left, and their shards are not.
    """
    index, rejected = _tables(parts)
    listed = folder.parent.parent / f"{folder.name}.rejected.csv"
    rejected.to_csv(listed, index=False)
    try:
        check_rejected(dataset.name, len(index), rejected, max_rejected, listed)
    except UserError:
        _forget_rejections(parts)
        raise
    listed.replace(folder / "rejected.csv")

    _write_fingerprints(folder, parts)
    duplicates = find_duplicates(index, read_fingerprints(folder))
    duplicates.to_csv(folder / "duplicates.csv", index=False)
    index["group_id"] = merged_groups(index, duplicates)
    index.to_parquet(folder / "index.parquet", index=False, row_group_size=_ROWS_AT_ONCE)

    files = {}
    for _, shard in parts:
        if shard.kept:
            size = shard.path.stat().st_size
            files[shard.path.name] = {"bytes": size, "sha256": shard.sha256}
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
    del index, duplicates
    pa.default_memory_pool().release_unused()  # before the store is opened, which reads it again


def check_rejected(
    name: str, count: int, rejected: pd.DataFrame, max_rejected: float, listed: Path
) -> None:
    """Refuse a store with too many rejected pictures, or with no other.

    Raises
    ------
    UserError
        With the first of them and their reasons.
    """
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


def _tables(parts: Sequence[Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the index, its groups as the data set says, and the table of what was rejected."""
    kept, rejected = [], []
    for records, shard in parts:
        table = shard.rows(["file_sha256", "pixels_sha256", "reason"])
        table = table.append_column("image_id", [[r.image_id for r in records]])
        table = table.append_column("path", [[str(r.path or "") for r in records]])
        for field in ("group_id", "diagnosis", "dataset", "split", *STATED):
            values = pa.array([getattr(r, field) for r in records], _INDEX.field(field).type)
            table = table.append_column(field, values)
        table = table.append_column("original_group", table["group_id"])
        bad = pc.is_valid(table["reason"])
        kept.append(table.filter(pc.invert(bad)).select(_INDEX.names).cast(_INDEX))
        rejected.append(table.filter(bad).select(["image_id", "path", "reason"]))
    index = pa.concat_tables(kept)
    unstated = [name for name in STATED if not pc.any(_is_stated(index[name])).as_py()]
    return index.drop_columns(unstated).to_pandas(), pa.concat_tables(rejected).to_pandas()


def _is_stated(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_valid(column) if column.type == pa.float64() else pc.not_equal(column, "")


def _write_fingerprints(folder: Path, parts: Sequence[Part]) -> None:
    count = sum(shard.kept for _, shard in parts)
    with (
        (folder / "hashes.npy").open("wb") as hashes,
        (folder / "structures.npy").open("wb") as structures,
    ):
        write_header(hashes, np.dtype(np.uint64), (count, HASH_BYTES // 8))
        write_header(structures, np.dtype(np.int8), (count, STRUCTURE_BYTES))
        for _, shard in parts:
            for batch in shard.rows(["fingerprint"]).to_batches():
                prints = collect(batch["fingerprint"].drop_null().to_pylist())
                hashes.write(prints.hashes.data)
                structures.write(prints.structures.data)


def _forget_rejections(parts: Sequence[Part]) -> None:
    """Have the shards with rejected pictures made again: what was wrong may not be in the files."""
    for records, shard in parts:
        if shard.kept < len(records):
            rows_file(shard.path).unlink()
            shard.path.unlink()
