"""What recognises a picture again after recompression, scaling, brightening or a slight crop.

A fingerprint is a 256-bit perceptual hash (DCT, ``imagehash``), which finds candidates among all
pairs fast, and the picture's fine structure, which confirms or rejects them.
The hash alone would not do: retinas look alike to it, and two photographs of one lesion in
different light do not. Measured on all pairs of distinct ISIC 2017 lesions, EyePACS patients and
drawn pictures in ``tests/data/test_duplicates.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_transfer.data.decode import RGB

HASH_BITS = 40
"""Pairs that differ in no more of the 256 bits are candidates."""

CORRELATION = 0.85
"""Candidates whose fine structures correlate at least so much are the same picture."""

_HASH_SIDE = 16
_SIDE, _MARGIN = 4 * _HASH_SIDE, 11  # the middle: within the disc of a retina, which all share
_BLUR = 3.0
_FLAT = 0.25  # grey levels; a picture with less structure has nothing to be recognised by
_PAIRS_AT_ONCE = 2**18  # what a processor caches


HASH_BYTES = _HASH_SIDE**2 // 8
STRUCTURE_BYTES = (_SIDE - 2 * _MARGIN) ** 2


class Fingerprints(NamedTuple):
    """Those of n pictures; apart, because all hashes are compared but few structures.

    Attributes
    ----------
    hashes
        (n, 4) uint64; all zero of a flat picture, which is similar to none.
    structures
        (n, 1764) int8.
    """

    hashes: NDArray[np.uint64]
    structures: NDArray[np.int8]


def fingerprint(picture: RGB) -> bytes:
    """Return the fingerprint of a stored picture of any size: its hash, then its structure."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if len(grey) >= _SIDE else cv2.INTER_CUBIC
    grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=method)  # the hash finds its own size
    structure = _structure(np.asarray(grey, np.uint8))
    if structure is None:
        return bytes(HASH_BYTES + STRUCTURE_BYTES)
    bits = imagehash.phash(Image.fromarray(grey), hash_size=_HASH_SIDE).hash
    return np.packbits(bits).tobytes() + structure.tobytes()


def collect(fingerprints: Sequence[bytes]) -> Fingerprints:
    """Return what :func:`fingerprint` gave for some pictures as arrays."""
    rows = np.frombuffer(b"".join(fingerprints), np.uint8)
    rows = rows.reshape(-1, HASH_BYTES + STRUCTURE_BYTES)
    return Fingerprints(
        np.ascontiguousarray(rows[:, :HASH_BYTES]).view(np.uint64),
        np.ascontiguousarray(rows[:, HASH_BYTES:]).view(np.int8),
    )


def _structure(grey: NDArray[np.uint8]) -> NDArray[np.int8] | None:
    """Return what is finer than a blur, with mean 0 and greatest value 127; None: flat."""
    fine = grey.astype(np.float32)
    fine -= cv2.GaussianBlur(fine, (0, 0), _BLUR).astype(np.float32)
    fine = fine[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].ravel()
    fine -= fine.mean()
    if fine.std() < _FLAT:
        return None
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
        pairs[correlations(first, second or first, pairs) >= CORRELATION]
        for pairs in _candidates(first.hashes, None if second is None else second.hashes)
    ]
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _candidates(
    first: NDArray[np.uint64], second: NDArray[np.uint64] | None
) -> Iterator[NDArray[np.int64]]:
    """Yield pairs of similar hashes; all pairs are compared, in blocks of bounded memory."""
    others = first if second is None else second
    rows, columns = (np.flatnonzero(hashes.any(axis=1)) for hashes in (first, others))
    left, right = first[rows].T, others[columns].T
    block = max(1, _PAIRS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(rows), block):
        skipped = start if second is None else 0
        here, there = left[:, start : start + block, None], right[:, None, skipped:]
        # Half of the words tell nearly all pairs apart.
        i, j = np.nonzero(_distance(here[:2], there[:2]) <= HASH_BITS)
        similar = _distance(here[:, i, 0], there[:, 0, j]) <= HASH_BITS
        if second is None:
            similar &= j > i
        if similar.any():
            yield np.stack([rows[start + i], columns[skipped + j]], axis=1)[similar]


def _distance(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return in how many bits hashes differ; their words are along the first axis."""
    total = np.zeros(np.broadcast_shapes(first.shape[1:], second.shape[1:]), np.uint16)
    for here, there in zip(first, second, strict=True):
        total += np.bitwise_count(here ^ there)
    return total


def correlations(
    first: Fingerprints, second: Fingerprints, pairs: NDArray[np.int64], at_once: int = 4096
) -> NDArray[np.float64]:
    """Return the correlation of the fine structures of each pair, (k,)."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), at_once):
        rows = pairs[start : start + at_once]
        a = first.structures[rows[:, 0]].astype(np.float32)
        b = second.structures[rows[:, 1]].astype(np.float32)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        result[start : start + at_once] = (a * b).sum(axis=1) / np.maximum(norms, 1.0)
    return result
