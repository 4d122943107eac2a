"""Folds out of a file, in the format published with the paper.

The file maps names to two halves, the training half first; images have any suffix and case::

    Fold_1:
      - [aal002.tiff, aal002bis.tiff, …]
      - [aal006.tiff, aal008.tiff, …]
    Fold_2:
      - [aal006.tiff, aal008.tiff, …]
      - [aal002.tiff, aal002bis.tiff, …]

Every partition is a repeat, in the file's order; its fold ``Rx1`` trains on the first half of the
entry that brings it first, ``Rx2`` on the other. An entry with the halves of an earlier one swapped
is that one's second fold and adds nothing: the ten entries of the paper's files are five repeats.
An entry that is there twice is refused, for the tests between models take repeats for different
divisions of the images; the same one again makes chance look like evidence.

The original scripts took ``Fold_1`` to ``Fold_5``, each in both directions. Since each even entry
is the swap of the odd one before it, their ten fits visit three partitions, two of them twice.
``reproduce_original_loop`` gives just that: repeat R is the entry ``Fold_R``.

The halves are used as they are. Images that a file does not list take no part; groups that it
divides are counted in :meth:`PublishedFolds.notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lesion_transfer.data.adapters.pictures import SUFFIXES
from lesion_transfer.data.splits import Partition
from lesion_transfer.errors import UserError
from lesion_transfer.study import digest

ORIGINAL_LOOP = tuple(f"Fold_{number}" for number in range(1, 6))

Halves = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class PublishedFolds:
    """The partitions of a file.

    Attributes
    ----------
    path
        The file.
    repeats
        For each repeat, the ids (see :func:`fold_id`) of its halves.
    """

    path: Path
    repeats: tuple[Halves, ...]

    @property
    def identity(self) -> str:
        """Digest of the partitions: part of the key of every result on them."""
        return digest("published", [[sorted(half) for half in halves] for halves in self.repeats])

    @property
    def images(self) -> frozenset[str]:
        """The ids of all images; every repeat has the same."""
        return self.repeats[0][0] | self.repeats[0][1]

    def listed(self, image_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of a data set's images the file lists, (n,) bool.

        Parameters
        ----------
        image_ids
            (n,) all usable images of the data set, whatever a design makes of them.

        Raises
        ------
        UserError
            The file lists an image that the data set does not have, or two have one id.
        """
        ids = [fold_id(image) for image in image_ids]
        twice = [name for name, count in Counter(ids).items() if count > 1 and name in self.images]
        if twice:
            raise UserError(
                f"{self.path}: {twice[0]} could be any of "
                + ", ".join(image for image in image_ids if fold_id(image) == twice[0]),
                expected="images whose names differ in more than case and suffix",
            )
        missing = sorted(self.images - set(ids))
        if missing:
            named = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
            raise UserError(
                f"{self.path}: {len(missing)} of its {len(self.images)} images are not in the data "
                f"set, or could not be read: {named}",
                expected="every image of the file among the data set's, whatever case and suffix",
                next_step="check target and data_root, and the rejected files of preprocess; or "
                "take these images out of a copy of the file",
            )
        return np.fromiter((name in self.images for name in ids), bool, len(ids))

    def partitions(self, image_ids: Sequence[str]) -> tuple[Partition, ...]:
        """Return the repeats as rows of ``image_ids``, all of which the file lists."""
        ids = [fold_id(image) for image in image_ids]
        return tuple(
            Partition(
                number,
                (
                    np.flatnonzero([name in halves[0] for name in ids]),
                    np.flatnonzero([name in halves[1] for name in ids]),
                ),
            )
            for number, halves in enumerate(self.repeats, start=1)
        )

    def notes(self, image_ids: Sequence[str], groups: Sequence[str]) -> list[str]:
        """Say what a reader of the results should know of these folds.

        Parameters
        ----------
        image_ids, groups
            (n,) the data set's images, and what must not be divided.
        """
        notes = []
        listed = self.listed(image_ids)
        left_out = [
            image for image, is_listed in zip(image_ids, listed, strict=True) if not is_listed
        ]
        if left_out:
            named = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
            notes.append(f"{self.path.name} leaves out {len(left_out)} image(s): {named}")
        group_of = {fold_id(image): group for image, group in zip(image_ids, groups, strict=True)}
        divided = {
            group
            for first, second in self.repeats
            for group in {group_of[name] for name in first} & {group_of[name] for name in second}
        }
        if divided:
            named = ", ".join(sorted(divided)[:5]) + (", …" if len(divided) > 5 else "")
            notes.append(
                f"{self.path.name} divides {len(divided)} lesion(s) or patient(s) between training "
                f"and test images: {named}"
            )
        unordered = len({frozenset(halves) for halves in self.repeats})
        if unordered < len(self.repeats):
            notes.append(
                f"{self.path.name}: {len(self.repeats)} repeats of {unordered} partitions, as in "
                "the original loop; no test between models holds on them"
            )
        return notes


def fold_id(image: str) -> str:
    """Return an image's id as fold files are matched: without case and the suffix of a picture."""
    path = PurePosixPath(image.strip())
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).casefold()


def folds_file(folds: str) -> tuple[Path | None, str]:
    """Divide the parameter ``folds`` into a file of published folds, if any, and which folds.

    >>> folds_file("protocol1.yml")
    (PosixPath('protocol1.yml'), 'all')
    >>> folds_file("protocol1.yml:1x1,1x2")
    (PosixPath('protocol1.yml'), '1x1,1x2')
    >>> folds_file("1x1")
    (None, '1x1')
    """
    file, _, chosen = folds.rpartition(":")
    for path, which in ((folds, "all"), (file, chosen)):
        if path.lower().endswith((".yml", ".yaml")):
            return Path(path).expanduser(), which
    return None, folds


def read_published_folds(path: Path, *, reproduce_original_loop: bool = False) -> PublishedFolds:
    """Read a file of folds.

    Raises
    ------
    UserError
        It cannot be read, is not of this format, has a partition twice, or its entries do not
        divide the same images.
    """
    entries = _entries(path)
    if reproduce_original_loop:
        missing = [name for name in ORIGINAL_LOOP if name not in entries]
        if missing:
            raise UserError(
                f"{path} has no {', '.join(missing)}",
                expected=f"{', '.join(ORIGINAL_LOOP)}, which reproduce_original_loop visits",
            )
        entries = {name: entries[name] for name in ORIGINAL_LOOP}
        repeats = list(entries.values())
    else:
        repeats = _different(path, entries)
    _require_same_images(path, entries)
    return PublishedFolds(path, tuple(repeats))


def _entries(path: Path) -> dict[str, Halves]:
    expected = "Fold_<k>: [[ids of the training half], [ids of the test half]], for every fold"
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"folds={path} cannot be read: {error}", expected=expected) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no folds", expected=expected)
    return {str(name): _halves(path, str(name), value) for name, value in content.items()}


def _halves(path: Path, name: str, value: Any) -> Halves:
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_half, value))):
        raise UserError(
            f"{path}, {name}: not two lists of images",
            expected="[[ids of the training half], [ids of the test half]]; numbers in quotes",
        )
    ids = [[fold_id(image) for image in half] for half in value]
    twice = sorted(image for image, count in Counter(ids[0] + ids[1]).items() if count > 1)
    if twice:
        raise UserError(
            f"{path}, {name}: {', '.join(twice[:5])} is there twice",
            expected="every image in one of the two halves",
        )
    return frozenset(ids[0]), frozenset(ids[1])


def _is_half(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _different(path: Path, entries: dict[str, Halves]) -> list[Halves]:
    """Return the partitions, each once; swapped halves are the other fold of the same repeat."""
    seen: dict[Halves, str] = {}
    repeats: list[Halves] = []
    for name, halves in entries.items():
        if halves in seen:
            raise UserError(
                f"{path}: {name} is the same partition as {seen[halves]}",
                expected="different partitions (or a partition and its swap): the tests between "
                "models take repeats for different divisions of the images, and the same one "
                "again makes chance look like evidence",
                next_step=f"remove {name}; or set reproduce_original_loop=true to take the entries "
                "as the original scripts did, without such tests",
            )
        if halves[::-1] not in seen:
            repeats.append(halves)
        seen[halves] = name
    return repeats


def _require_same_images(path: Path, entries: dict[str, Halves]) -> None:
    (first, halves), *others = entries.items()
    images = halves[0] | halves[1]
    for name, other in others:
        difference = sorted(images ^ (other[0] | other[1]))
        if difference:
            raise UserError(
                f"{path}: {', '.join(difference[:5])} is in one of {first} and {name} only",
                expected="the same images in every fold",
                next_step="correct the file; spelling counts, case and suffix do not",
            )
