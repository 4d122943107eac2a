"""Splits, stratified by label and never through a group.

They follow from hashes of the group ids and not from a stream of random numbers: the same on every
platform and with every version of numpy, and whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesion_transfer.data.designs import Indices
from lesion_transfer.errors import UserError
from lesion_transfer.study import Fold

Seed = int | str
"""Anything that names a split; equal seeds give equal splits."""

_ATTEMPTS = 50  # at a partition unlike the earlier ones
_BY_SIZE = 10  # of them: the most even, but the fewest different


@dataclass(frozen=True, eq=False)
class Partition:
    """One repeat of two-fold cross-validation.

    Attributes
    ----------
    repeat
        From 1.
    halves
        Two ascending int64 arrays; together, every row once.
    """

    repeat: int
    halves: tuple[Indices, Indices]


def five_by_two(
    labels: Indices,
    groups: Sequence[str],
    seed: Seed,
    repeats: int = 5,
    classes: Sequence[str] = (),
) -> tuple[Partition, ...]:
    """Return ``repeats`` different partitions into two halves.

    Where every group has one label, the halves' counts of a class differ by no more than the size
    of its largest group; where most groups are one image, by one at most.

    Parameters
    ----------
    labels
        (n,) int64, from 0.
    groups
        (n,) ids of what must not be divided.
    classes
        Names of the labels, for messages.

    Raises
    ------
    UserError
        A class has fewer than two groups, or the groups allow too few different partitions.
    """
    members = _members(labels, groups)
    _require_two_groups(members, classes)
    found: dict[frozenset[str], int] = {}
    partitions: list[Partition] = []
    for repeat in range(1, repeats + 1):
        for attempt in range(_ATTEMPTS):
            first = _first_half(members, (seed, repeat, attempt))
            second = frozenset(members) - first
            if first not in found and second not in found:
                break
        else:
            raise UserError(
                f"repeats={repeats}: the {len(members)} groups of images allow fewer different "
                f"partitions into halves; {len(partitions)} were found",
                expected="more groups (lesions, patients), or fewer repeats",
                next_step=f"set repeats={max(1, len(partitions))}, or add images",
            )
        found[first] = repeat
        in_first = np.fromiter((group in first for group in groups), bool, len(groups))
        halves = (np.flatnonzero(in_first), np.flatnonzero(~in_first))
        for half in halves:
            _require_all_classes(labels, half, classes)
        partitions.append(Partition(repeat, halves))
    return tuple(partitions)


def fold_indices(partitions: Sequence[Partition], fold: Fold) -> tuple[Indices, Indices]:
    """Return the rows on which ``fold`` trains, and those on which it tests.

    Raises
    ------
    UserError
        There is no such repeat.
    """
    for partition in partitions:
        if partition.repeat == fold.repeat:
            return partition.halves[fold.half - 1], partition.halves[2 - fold.half]
    raise UserError(
        f"folds: {fold} is beyond the {len(partitions)} repeats",
        expected=f"a repeat from 1 to {len(partitions)}",
    )


def holdout(
    labels: Indices, groups: Sequence[str], share: float, seed: Seed
) -> tuple[Indices, Indices]:
    """Divide the rows into those kept and a stratified ``share`` held out.

    Of every class with two groups or more, each side gets at least one (a group of several labels
    counts for the rarest of them); a class of one group is kept whole.

    Returns
    -------
    Two ascending int64 arrays of positions in ``labels``: kept, held out.
    """
    members = _members(labels, groups)
    frequency: Counter[int] = Counter()
    for counts in members.values():
        frequency.update(counts)
    strata: dict[int, list[str]] = {}
    for group in sorted(members, key=lambda group: _hash(("holdout", seed), group)):
        rarest = min(members[group], key=lambda label: (frequency[label], label))
        strata.setdefault(rarest, []).append(group)
    held: set[str] = set()
    for stratum in strata.values():
        held |= _held_of(stratum, members, share)
    is_held = np.fromiter((group in held for group in groups), bool, len(groups))
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _held_of(stratum: list[str], members: dict[str, Counter[int]], share: float) -> set[str]:
    """Take groups, in their order, as long as that brings the held share nearer to ``share``."""
    if len(stratum) < 2:
        return set()
    sizes = {group: members[group].total() for group in stratum}
    wanted, taken = share * sum(sizes.values()), 0
    held: list[str] = []
    for group in stratum:
        if taken + sizes[group] / 2 <= wanted and len(held) < len(stratum) - 1:
            held.append(group)
            taken += sizes[group]
    return set(held) or {min(stratum, key=lambda group: sizes[group])}


def _members(labels: Indices, groups: Sequence[str]) -> dict[str, Counter[int]]:
    """For each group, how many images it has of each label."""
    if len(labels) != len(groups):
        raise ValueError(f"{len(labels)} labels, but {len(groups)} groups")
    members: dict[str, Counter[int]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        members.setdefault(group, Counter())[label] += 1
    return members


def _first_half(members: dict[str, Counter[int]], key: tuple[Seed, int, int]) -> frozenset[str]:
    """Give each group to the half that has less of its labels.

    Mixed groups go first, then large ones, so that the small ones even out; among equals, and in
    later attempts among all sizes, the hash decides, and so it does in a tie.
    """
    hashes = {group: _hash(key, group) for group in members}
    by_size = key[2] < _BY_SIZE
    order = sorted(
        members,
        key=lambda group: (
            -len(members[group]),
            -members[group].total() if by_size else 0,
            hashes[group],
        ),
    )
    totals = sum(members.values(), Counter[int]())
    lead: Counter[int] = Counter()  # of the first half over the second, per label
    first = set()
    for group in order:
        counts = members[group]
        excess = sum(counts[k] * lead[k] / totals[k] for k in sorted(counts)) or lead.total()
        to_first = excess < 0 or (excess == 0 and hashes[group][-1] % 2 == 0)
        if to_first:
            first.add(group)
        for label, count in counts.items():
            lead[label] += count if to_first else -count
    return frozenset(first)


def _hash(key: tuple[object, ...], group: str) -> bytes:
    return hashlib.sha256("\0".join([*map(str, key), group]).encode()).digest()


def _require_two_groups(members: dict[str, Counter[int]], classes: Sequence[str]) -> None:
    groups: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for counts in members.values():
        groups.update(counts.keys())
        images.update(counts)
    labels = range(len(classes)) if classes else sorted(groups)
    for label in labels:
        if groups[label] < 2:
            raise UserError(
                f"the class {_name(label, classes)} has {images[label]} image(s) of "
                f"{groups[label]} lesion(s) or patient(s)",
                expected="at least 2 of every class, one for each half",
                next_step="add images of this class, leave it out of the labels, or choose "
                "another design",
            )


def _require_all_classes(labels: Indices, half: Indices, classes: Sequence[str]) -> None:
    missing = sorted(set(labels.tolist()) - set(labels[half].tolist()))
    if missing:
        raise UserError(
            f"no grouped split gives both halves an image of {_name(missing[0], classes)}: its "
            "images are in groups that also hold other classes",
            expected="groups that can be shared out by class",
            next_step="check group_id: a group is one lesion or patient",
        )


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if classes else str(label)
