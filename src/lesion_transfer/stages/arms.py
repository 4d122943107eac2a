"""Arms as the tracking server has them, with the results of their folds.

A study has ten times as many folds as arms, and MLflow gives runs whole, with all that was logged
in them. So an arm's run names its folds and their results, and a table is made from arms alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Self

from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag, Tracker

COMMIT = "mlflow.source.git.commit"
LONGEST_INDEX = 5000
"""Characters that every MLflow server keeps of a tag: some 50 folds."""


@dataclass(frozen=True, slots=True)
class FoldScore:
    """What a table needs of a complete fold's run.

    Attributes
    ----------
    id, fold
        Of the run, and of the fold: ``1x2``.
    auc
        A fraction.
    start_time
        Milliseconds since 1970.
    code
        The commit that made it, and whether it was changed.
    """

    id: str
    fold: str
    auc: float
    start_time: int
    code: str

    @classmethod
    def of(cls, run: StoredRun) -> Self:
        """Return what is needed of a fold's run."""
        code = run.tags.get(COMMIT, "unknown")[:12]
        code += " with changes" if Tag.CODE_CHANGED in run.tags else ""
        return cls(run.id, run.tags["fold"], run.metrics["auc"], run.start_time, code)


@dataclass(frozen=True, slots=True)
class StoredArm:
    """An arm's run, with one run for each of its complete folds, by their names.

    ``head`` is the kind of classifier that its features have, as a protocol says it.
    """

    run_id: str
    tags: Mapping[str, str]
    folds: tuple[FoldScore, ...]
    head: str

    @property
    def expected_folds(self) -> int:
        """How many folds its protocol has."""
        return int(self.tags[Tag.FOLDS_EXPECTED])

    def since(self, start_time: int) -> StoredArm:
        """Return it without the folds begun before a time, in milliseconds since 1970."""
        return replace(self, folds=tuple(f for f in self.folds if f.start_time >= start_time))


def arm_of(
    run_id: str, tags: Mapping[str, str], folds: Iterable[StoredRun], head: str
) -> StoredArm:
    """Return an arm with these folds.

    Of several runs of one fold, which a process killed between completing and cleaning up can
    leave, the newest counts.
    """
    oldest_first = sorted(folds, key=lambda run: (run.start_time, run.id))
    newest = {run.tags["fold"]: FoldScore.of(run) for run in oldest_first}
    return StoredArm(run_id, tags, tuple(newest[fold] for fold in sorted(newest)), head)


def fold_index(folds: Iterable[FoldScore]) -> str:
    """Return the tag that names an arm's folds; empty where they are too many for a tag."""
    text = json.dumps([astuple(fold) for fold in folds], separators=(",", ":"))
    return text if len(text) <= LONGEST_INDEX else ""


def _indexed(run: StoredRun) -> StoredArm | None:
    """Return an arm as its own run has it; None where that may not be all."""
    index = run.tags.get(Tag.FOLDS)
    if not index or run.tags[Tag.STATE] != COMPLETE:
        return None
    scores = tuple(FoldScore(*row) for row in json.loads(index))
    return StoredArm(run.id, run.tags, scores, _head(run))


def stored_arms(tracker: Tracker, tags: Mapping[str, str]) -> list[StoredArm]:
    """Return the arms that carry these tags and have complete folds.

    The index of a complete arm is taken at its word only if every run it names is still there and
    complete. Where it is not (a fold was deleted or replaced), or where the arm is incomplete
    (other processes may be at work on it), its folds are read one arm at a time.
    """
    by_key: dict[str, StoredRun] = {}
    for run in tracker.search({Tag.KIND: Kind.ARM.value, **tags}):
        known = by_key.get(run.tags[Tag.KEY])
        # Two processes that open an arm at once make two runs of it, until one completes it.
        if known is None or known.tags[Tag.STATE] != COMPLETE:
            by_key[run.tags[Tag.KEY]] = run
    arms = {key: _indexed(run) for key, run in by_key.items()}
    indexed = [arm for arm in arms.values() if arm is not None]
    sound = tracker.intact([[fold.id for fold in arm.folds] for arm in indexed])
    valid = {arm.run_id for arm, is_sound in zip(indexed, sound, strict=True) if is_sound}
    found = [
        arm if arm and arm.run_id in valid else _read(tracker, by_key[key])
        for key, arm in arms.items()
    ]
    return [arm for arm in found if arm.folds]


def _read(tracker: Tracker, arm: StoredRun) -> StoredArm:
    folds = tracker.search(
        {Tag.KIND: Kind.FOLD.value, Tag.STATE: COMPLETE, Tag.ARM: arm.tags[Tag.KEY]}
    )
    return arm_of(arm.id, arm.tags, folds, _head(arm))


def _head(arm: StoredRun) -> str:
    return arm.params.get("svm.head", "svm")  # the only one, before there was a choice
