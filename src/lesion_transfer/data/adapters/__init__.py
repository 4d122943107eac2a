"""The known data sets: one small file per family, one line in :data:`ADAPTERS`."""

from __future__ import annotations

from lesion_transfer.data.adapters import eyepacs, folder, isic2017, synthetic, table
from lesion_transfer.data.dataset import Adapter, Dataset
from lesion_transfer.errors import UserError

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        *synthetic.ADAPTERS,
        isic2017.ADAPTER,
        eyepacs.ADAPTER,
        folder.ADAPTER,
        table.ADAPTER,
    )
}
"""Adapter of every data set, by the name that chooses it."""


def open_dataset(target: str, data_root: str | None = None, seed: int = 0) -> Dataset:
    """List a data set's pictures, without reading them.

    Parameters
    ----------
    target
        A name in :data:`ADAPTERS`.
    data_root
        The data set's folder (or file), or a folder that holds it under its name.
    seed
        Decides the pictures of the synthetic worlds; other data sets do not use it.

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
    return ADAPTERS[target].open(data_root, seed)
