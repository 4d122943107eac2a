"""The known data sets: one small file per family, one line in :data:`ADAPTERS`."""

from __future__ import annotations

from pathlib import Path

from lesion_transfer.data.adapters import (
    aptos2019,
    atlas,
    eyepacs,
    folder,
    ham10000,
    isic2016,
    isic2017,
    isic2018,
    isic2019,
    isic2020,
    ph2,
    synthetic,
    table,
)
from lesion_transfer.data.dataset import Adapter, Dataset, FileAdapter
from lesion_transfer.data.fetch import Progress, fetch, is_remote
from lesion_transfer.errors import UserError

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        *synthetic.ADAPTERS,
        atlas.ADAPTER,
        isic2016.ADAPTER,
        isic2017.ADAPTER,
        isic2018.ADAPTER,
        isic2019.ADAPTER,
        isic2020.ADAPTER,
        ham10000.ADAPTER,
        ph2.ADAPTER,
        eyepacs.ADAPTER,
        aptos2019.ADAPTER,
        folder.ADAPTER,
        table.ADAPTER,
    )
}
"""Adapter of every data set, by the name that chooses it."""


def open_dataset(
    target: str,
    data_root: str | None = None,
    seed: int = 0,
    *,
    downloads: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """List a data set's pictures, without reading them.

    Parameters
    ----------
    target
        A name in :data:`ADAPTERS`.
    data_root
        The data set's folder (or file), or a folder that holds it under its name; or where to
        fetch either: ``s3://bucket/prefix``, or the ``https://`` address of an archive.
    seed
        Decides the pictures of the synthetic worlds; other data sets do not use it.
    downloads
        Folder for what is fetched; None: nothing may be.
    progress
        Called with the megabytes fetched and those of all.

    Raises
    ------
    UserError
        There is no such data set, or it is not what its adapter expects.
    """
    if target not in ADAPTERS:
        raise UserError(
            f"there is no data set called {target!r}",
            expected="one of " + ", ".join(sorted(ADAPTERS)),
            next_step="for images of your own use folder (a directory per class) or csv (a table "
            "of image_id, path, diagnosis)",
        )
    adapter = ADAPTERS[target]
    if data_root and is_remote(data_root) and isinstance(adapter, FileAdapter):
        if downloads is None:
            raise UserError(f"data_root={data_root}: only a local folder can be used here")
        known = adapter.downloads, adapter.unpacked
        data_root = str(fetch(data_root, downloads, target, *known, progress=progress))
    return adapter.open(data_root, seed)
