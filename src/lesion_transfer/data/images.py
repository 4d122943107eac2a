"""The pictures of a store as one array, though they lie in several files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Pictures:
    """Memory-mapped shards, indexed along their first axis as NumPy indexes one array.

    A picture, or a slice within one shard, is a view; everything else is copied.

    Parameters
    ----------
    shards
        (n_i, size, size, 3) uint8 each; at least one.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shards: Sequence[NDArray[np.uint8]]) -> None:
        self._shards = tuple(shards)
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self._rows = np.arange(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, size, size, 3)."""
        return len(self), *self._shards[0].shape[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        rows = self._rows[key]
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        within = rows - self._starts[numbers]
        if rows.ndim == 0:
            picture: NDArray[np.uint8] = self._shards[int(numbers)][int(within)]
            return picture
        contiguous = isinstance(key, slice) and key.step in (None, 1) and rows.size > 0
        if contiguous and numbers[0] == numbers[-1]:
            view: NDArray[np.uint8] = self._shards[numbers[0]][within[0] : within[-1] + 1]
            return view
        chosen = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
        for number in np.unique(numbers):
            here = numbers == number
            chosen[here] = self._shards[number][within[here]]
        return chosen

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for shard in self._shards:
            yield from shard

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("the shards cannot be one array without a copy")
        return np.concatenate(self._shards).astype(dtype or self.dtype, copy=False)
