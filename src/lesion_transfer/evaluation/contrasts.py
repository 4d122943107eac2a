"""Which arms are compared, what every test says of a pair, and what that means in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lesion_transfer.evaluation.bootstrap import RESAMPLES, Estimate, estimate, replicates
from lesion_transfer.evaluation.delong import delong
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.paired import (
    ROPE,
    Posterior,
    Statistic,
    combined_f,
    corrected_interval,
    corrected_t,
    dietterich_t,
    effect_size,
    holm,
    rope_posterior,
)
from lesion_transfer.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

DECLARED = (("A", "C"), ("A", "E"), ("B", "C"), ("D", "E"), ("C", "E"), ("E", "F"))
"""The paper's questions, chosen before looking: does transfer help, from where, is fine-tuning
worth it, does a second source add anything."""
LEVEL = 0.05
SURE = 0.95

UNTESTED = Statistic(math.nan, math.nan)
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
NO_POSTERIOR = Posterior(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that an arm's folds say.

    Attributes
    ----------
    name
        As the report calls it.
    folds
        By name, ``RxH``: repeat R, trained on half H.
    expected
        How many folds its protocol has.
    resampled
        By metric, (1 + resamples,): see :func:`~lesion_transfer.evaluation.bootstrap.replicates`.
    """

    name: str
    folds: Mapping[str, Predictions]
    expected: int
    resampled: Mapping[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, folds: Mapping[str, Predictions], expected: int, resamples: int = RESAMPLES
    ) -> Evidence:
        """Resample the folds."""
        return cls(name, folds, expected, replicates([*folds.values()], resamples))

    @property
    def aucs(self) -> dict[str, float]:
        """The AUC of each fold."""
        return {name: auc(fold.labels, fold.decision) for name, fold in self.folds.items()}


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms side by side; differences are first − second, of AUCs in 0–1.

    Attributes
    ----------
    problem
        Why nothing was tested, or empty.
    difference, low, high
        Mean over folds, and the interval of the corrected t test.
    won
        Folds in which the first is ahead.
    f, t, corrected
        Alpaydin's, Dietterich's, Nadeau and Bengio's test.
    adjusted
        The F test's p, adjusted by Holm over the family.
    delong
        One test for each fold.
    bootstrap
        The difference, and its interval over resampled groups.
    """

    first: str
    second: str
    problem: str = ""
    folds: int = 0
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    effect: float = math.nan
    won: int = 0
    f: Statistic = UNTESTED
    t: Statistic = UNTESTED
    corrected: Statistic = UNTESTED
    adjusted: float = math.nan
    posterior: Posterior = NO_POSTERIOR
    delong: tuple[Statistic, ...] = ()
    bootstrap: Estimate = UNKNOWN

    @property
    def significant(self) -> bool:
        """The primary test finds a difference, allowing for the other tests of the family."""
        return self.adjusted < LEVEL

    @property
    def established(self) -> bool:
        """The primary test finds a difference, and the more cautious interval leaves out zero.

        The F test's false alarms grow where a data set favours one arm in both halves:
        ``docs/statistics.md``.
        """
        return self.significant and not self.low <= 0 <= self.high

    @property
    def sure_folds(self) -> int:
        """Folds in which DeLong's test finds a difference."""
        return sum(test.p < LEVEL for test in self.delong)

    @property
    def verdict(self) -> str:
        """What it means, for a reader who does not read p-values."""
        if self.problem:
            return f"Not tested: {self.problem}."
        ahead, behind = self.first, self.second
        low, high, beyond = self.low, self.high, self.posterior.better
        if self.difference < 0:
            ahead, behind = behind, ahead
            low, high, beyond = -high, -low, self.posterior.worse
        span = _span(low, high, ahead, behind)
        margin = f"{100 * ROPE:.0f} point"
        if self.significant and not self.established:
            return (
                f"Not established: the primary test finds {ahead} ahead, but the more cautious "
                f"interval, {span}, does not rule out chance."
            )
        if self.established:
            if beyond > SURE:
                return f"{ahead} is better than {behind}, by more than {margin}: {span}."
            if self.posterior.same > SURE:
                return (
                    f"{ahead} scores higher than {behind}, but hardly enough to matter: by less "
                    f"than {margin}."
                )
            return (
                f"{ahead} scores higher than {behind}; whether by enough to matter is open: {span}."
            )
        if self.posterior.same > SURE:
            return (
                "No evidence of a difference, and one of more than "
                f"{margin} is unlikely ({100 * self.posterior.same:.0f} % within)."
            )
        if beyond > SURE:
            return (
                f"Not established: the folds lean towards {ahead}, but after allowing for all "
                f"comparisons chance is not ruled out ({span})."
            )
        return f"No evidence of a difference: it may be anything {span}."


def _span(low: float, high: float, ahead: str, behind: str) -> str:
    """Say an interval of ahead − behind without signs that a reader would have to turn around."""
    if low >= 0:
        return f"from {100 * low:.1f} to {100 * high:.1f} points"
    return (
        f"from {-100 * low:.1f} points in favour of {behind} to {100 * high:.1f} in favour of "
        f"{ahead}"
    )


def contrasts(
    arms: Mapping[str, Evidence], declared: Iterable[tuple[str, str]] = DECLARED
) -> tuple[Contrast, ...]:
    """Compare the declared pairs whose arms are there; adjusted p-values allow for all of them.

    Parameters
    ----------
    arms
        By name.
    declared
        Pairs of names, chosen before looking at results.
    """
    found = [contrast(arms[a], arms[b]) for a, b in declared if a in arms and b in arms]
    tested = [i for i, each in enumerate(found) if not each.problem]
    adjusted = holm(np.array([found[i].f.p for i in tested]))
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = replace(found[i], adjusted=float(p))
    return tuple(found)


def contrast(first: Evidence, second: Evidence) -> Contrast:
    """Run every test on two arms; ``adjusted`` is left to :func:`contrasts`."""
    pair = Contrast(first.name, second.name)
    problem = _problem(first, second)
    if problem:
        return replace(pair, problem=problem)
    names = sorted(first.folds)
    ours, theirs = first.aucs, second.aucs
    differences = np.array([ours[name] - theirs[name] for name in names]).reshape(-1, 2)
    if np.isnan(differences).any():
        return replace(pair, problem="a fold has no picture of some class, and so no AUC")
    low, high = corrected_interval(differences)
    resampled = (
        estimate(first.resampled["auc"] - second.resampled["auc"])
        if "auc" in first.resampled and "auc" in second.resampled
        else UNKNOWN
    )
    return replace(
        pair,
        folds=len(names),
        difference=float(differences.mean()),
        low=low,
        high=high,
        effect=effect_size(differences),
        won=int((differences > 0).sum()),
        f=combined_f(differences),
        t=dietterich_t(differences),
        corrected=corrected_t(differences),
        posterior=rope_posterior(differences),
        delong=tuple(_delong(first.folds[name], second.folds[name]) for name in names),
        bootstrap=resampled,
    )


def _delong(first: Predictions, second: Predictions) -> Statistic:
    # The arms may list their pictures in different orders.
    one, other = np.argsort(first.images), np.argsort(second.images)
    return delong(first.labels[one], first.decision[one], second.decision[other])


def _problem(first: Evidence, second: Evidence) -> str:
    """Why these arms cannot be tested, or nothing."""
    for arm in (first, second):
        if len(arm.folds) < arm.expected:
            return f"{arm.name} has {len(arm.folds)} of {arm.expected} folds"
    if set(first.folds) != set(second.folds):
        return "the two have different folds"
    repeats = {name.partition("x")[0] for name in first.folds}
    if len(repeats) < 2 or set(first.folds) != {f"{r}x{h}" for r in repeats for h in (1, 2)}:
        return "the tests need two-fold cross-validation, repeated at least twice"
    for name in first.folds:
        ours, theirs = (_tested(arm.folds[name]) for arm in (first, second))
        if ours.keys() != theirs.keys():
            return f"the two were not tested on the same pictures in fold {name}"
        if ours != theirs:
            return f"pictures of fold {name} have another class or group in the one than the other"
    return duplicate_partitions({name: fold.images for name, fold in first.folds.items()})


def _tested(fold: Predictions) -> dict[str, tuple[str, str]]:
    """Return the class and the group of each picture, by its name."""
    labels = (fold.classes[label] for label in fold.labels)
    return dict(zip(fold.images, zip(labels, fold.groups, strict=True), strict=True))


def duplicate_partitions(tested: Mapping[str, Sequence[str] | NDArray[np.object_]]) -> str:
    """Say which repeats test the same halves, or return nothing.

    The tests take repeats for different partitions of the data. The same one again adds no
    evidence but would be counted as if it did: ``benchmarks/paired_tests.py`` shows by how much.

    Parameters
    ----------
    tested
        The test images of each fold, by the fold's name.
    """
    seen: dict[frozenset[str], str] = {}
    for name in sorted(tested):
        images, repeat = frozenset(map(str, tested[name])), name.partition("x")[0]
        known = seen.setdefault(images, name)
        if known != name:
            other = known.partition("x")[0]
            if other != repeat:
                return f"repeats {other} and {repeat} are the same partition, which is refused"
            return f"folds {known} and {name} test the same pictures, which is refused"
    return ""
