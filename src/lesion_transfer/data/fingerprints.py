"""What recognises a picture again after recompression, scaling, brightening or a slight crop.

A fingerprint is a row of bytes: a 256-bit perceptual hash (DCT, ``imagehash``), which finds
candidates among all pairs fast, and the picture's fine structure, which confirms or rejects them.
The hash alone would not do: retinas look alike to it, and two photographs of one lesion in
different light do not. Measured on all pairs of distinct ISIC 2017 lesions, EyePACS patients and
drawn pictures in ``tests/data/test_duplicates.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_transfer.data.decode import RGB

Fingerprints = NDArray[np.uint8]
"""(n, :data:`LENGTH`) uint8: 32 bytes of hash, then the structure in int8."""

HASH_BITS = 40
"""Pairs that differ in no more of the 256 bits are candidates."""

CORRELATION = 0.85
"""Candidates whose fine structures correlate at least so much are the same picture."""

_HASH_SIDE = 16
_HASH_BYTES = _HASH_SIDE**2 // 8
_SIDE, _MARGIN = (
    4 * _HASH_SIDE,
    11,
)  # the middle: within the disc of a retina, which all retinas share
_STRUCTURE = (_SIDE - 2 * _MARGIN) ** 2
_BLUR = 3.0
_FLAT = 0.25  # grey levels; a picture with less structure has nothing to be recognised by
LENGTH = _HASH_BYTES + _STRUCTURE
_PAIRS_AT_ONCE = 2_000_000


def fingerprint(picture: RGB) -> NDArray[np.uint8]:
    """Return the fingerprint, (:data:`LENGTH`,) uint8, of a stored picture of any size."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if len(grey) >= _SIDE else cv2.INTER_CUBIC
    grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=method)  # the hash finds its own size
    bits = imagehash.phash(Image.fromarray(grey), hash_size=_HASH_SIDE).hash
    return np.concatenate(
        [np.packbits(bits), _structure(np.asarray(grey, np.uint8)).view(np.uint8)]
    )


def _structure(grey: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return what is finer than a blur, with mean 0 and norm (nearly) 1, in steps of 1/127."""
    fine = grey.astype(np.float32)
    fine -= cv2.GaussianBlur(fine, (0, 0), _BLUR).astype(np.float32)
    fine = fine[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].ravel()
    fine -= fine.mean()
    if fine.std() < _FLAT:
        return np.zeros(_STRUCTURE, np.int8)
    scaled: NDArray[np.int8] = np.rint(127 * fine / np.abs(fine).max()).astype(np.int8)
    return scaled


def similar_pairs(first: Fingerprints, second: Fingerprints | None = None) -> NDArray[np.int64]:
    """Return the pairs of rows, (k, 2), that show the same picture.

    Parameters
    ----------
    second
        None: pairs within ``first``, each once, the smaller row first.
    """
    found = [
        pairs[correlations(first, first if second is None else second, pairs) >= CORRELATION]
        for pairs in _candidates(first, second)
    ]
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _candidates(first: Fingerprints, second: Fingerprints | None) -> Iterator[NDArray[np.int64]]:
    """Yield pairs with similar hashes; all pairs are compared, in blocks of bounded memory."""
    others = first if second is None else second
    rows = np.flatnonzero(first[:, _HASH_BYTES:].any(axis=1))  # the others are flat
    columns = np.flatnonzero(others[:, _HASH_BYTES:].any(axis=1))
    left, right = _words(first[rows]), _words(others[columns])
    block = max(1, _PAIRS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(rows), block):
        skipped = start if second is None else 0
        here, there = left[start : start + block], right[skipped:]
        distance = np.zeros((len(here), len(there)), np.uint16)
        for word in range(left.shape[1]):
            distance += np.bitwise_count(here[:, None, word] ^ there[None, :, word])
        i, j = np.nonzero(distance <= HASH_BITS)
        if second is None:
            i, j = i[j > i], j[j > i]
        if len(i):
            yield np.stack([rows[start + i], columns[skipped + j]], axis=1)


def _words(fingerprints: Fingerprints) -> NDArray[np.uint64]:
    return np.ascontiguousarray(fingerprints[:, :_HASH_BYTES]).view(np.uint64)


def correlations(
    first: Fingerprints, second: Fingerprints, pairs: NDArray[np.int64], at_once: int = 4096
) -> NDArray[np.float64]:
    """Return the correlation of the fine structures of each pair, (k,)."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), at_once):
        rows = pairs[start : start + at_once]
        a = first[rows[:, 0], _HASH_BYTES:].view(np.int8).astype(np.float32)
        b = second[rows[:, 1], _HASH_BYTES:].view(np.int8).astype(np.float32)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        result[start : start + at_once] = (a * b).sum(axis=1) / np.maximum(norms, 1.0)
    return result
