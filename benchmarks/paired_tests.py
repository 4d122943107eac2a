"""How often each test is wrong, and how much it sees, on 5×2 folds of simulated studies.

    python benchmarks/paired_tests.py [--simulations 500] [--images 400]

A study draws images of two classes (30 % positive) and compares two algorithms: each scores by the
difference of class means, learnt on the training half, from features that both see and features of
its own. With equally good features of their own they are equally good whatever they are trained on:
every difference found is a false alarm. With better ones the second is better, and finding it is
power. Everything is drawn anew in each study, images included, as a claim about algorithms needs.

Three worlds: faint classes told apart by training without chance (frozen features and a linear
classifier), clear ones, and faint ones with much chance in the training (fine-tuning). They differ
in how alike the two halves of a partition are: chance features of the data set favour one algorithm
in both halves, which the 5×2cv tests, whose yardstick is the difference between halves, cannot see.

The second table visits the partitions as the original scripts did: their loop over Fold_1…Fold_5
takes the first partition twice, the second twice and the third once, halves swapped.
"""

import argparse
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lesion_transfer.evaluation.bootstrap import estimate, replicates
from lesion_transfer.evaluation.delong import delong
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.paired import (
    combined_f,
    corrected_t,
    dietterich_t,
    rope_posterior,
)
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.ranking import Ranking

Floats = NDArray[np.float64]
Scores = dict[tuple[int, int], tuple[NDArray[np.int64], Floats, Floats]]

SHARED, OWN = 10, 10
RESAMPLES = 200


class World(NamedTuple):
    """How far apart the classes are, and how much chance is in training."""

    signal: float
    """Distance of the class means in each feature, in standard deviations."""
    noise: float
    """Length of a random addition to the learnt direction, relative to it."""
    effect: float
    """Signal of the better algorithm's own features, relative to the other's."""


WORLDS = {"faint": World(0.22, 0, 1.5), "clear": World(0.5, 0, 1.25), "noisy": World(0.3, 1, 1.6)}
DISTINCT = [(partition, (0, 1)) for partition in range(5)]
ORIGINAL = [(0, (0, 1)), (0, (1, 0)), (1, (0, 1)), (1, (1, 0)), (2, (0, 1))]


def study(
    rng: np.random.Generator, images: int, world: World, effect: float
) -> tuple[NDArray[np.int64], Scores]:
    """Draw one study: its labels, and by (partition, half) the test rows and both scores."""
    labels = (rng.random(images) < 0.3).astype(np.int64)
    signal = np.repeat(np.array([1.0, 1.0, effect]) * world.signal, [SHARED, OWN, OWN])
    features = rng.normal(size=(images, len(signal))) + signal * labels[:, None]
    seen = [np.r_[0 : SHARED + OWN], np.r_[0:SHARED, SHARED + OWN : SHARED + 2 * OWN]]
    found = {}
    for partition in range(5):
        # Stratified: every other image of each class, in random order.
        order = np.lexsort([rng.random(images), labels])
        halves = order[::2], order[1::2]
        for half in (0, 1):
            train, test = halves[half], halves[1 - half]
            scores = []
            for columns in seen:
                known, positive = features[np.ix_(train, columns)], labels[train] == 1
                direction = known[positive].mean(axis=0) - known[~positive].mean(axis=0)
                chance = rng.normal(size=len(direction)) / np.sqrt(len(direction))
                direction += world.noise * np.linalg.norm(direction) * chance
                scores.append(features[np.ix_(test, columns)] @ direction)
            found[partition, half] = (test, scores[0], scores[1])
    return labels, found


def answers(
    labels: NDArray[np.int64], scores: Scores, visits: list[tuple[int, tuple[int, int]]]
) -> dict[str, bool]:
    """Say of each test whether it finds a difference, at 5 %."""
    differences = np.array(
        [
            [
                auc(labels[test], other) - auc(labels[test], one)
                for test, one, other in (scores[partition, half] for half in halves)
            ]
            for partition, halves in visits
        ]
    )
    first = scores[visits[0][0], visits[0][1][0]]
    posterior = rope_posterior(differences)
    keys = [(partition, half) for partition, halves in visits for half in halves]
    ours, theirs = (
        replicates([_fold(labels, scores[key], column) for key in keys], RESAMPLES, measured=_area)[
            "auc"
        ]
        for column in (1, 2)
    )
    interval = estimate(theirs - ours)
    return {
        "combined 5×2cv F (primary)": combined_f(differences).p < 0.05,
        "5×2cv t (Dietterich)": dietterich_t(differences).p < 0.05,
        "corrected t (Nadeau, Bengio)": corrected_t(differences).p < 0.05,
        "DeLong, one fold": delong(labels[first[0]], first[1], first[2]).p < 0.05,
        "bootstrap of groups, all folds": not interval.low <= 0 <= interval.high,
        "Bayes: beyond ±1 point, > 95 %": max(posterior.better, posterior.worse) > 0.95,
        "Bayes: within ±1 point, > 95 %": posterior.same > 0.95,
        "t of ten folds, uncorrected": stats.ttest_1samp(differences.ravel(), 0).pvalue < 0.05,
    }


def _fold(
    labels: NDArray[np.int64], scored: tuple[NDArray[np.int64], Floats, Floats], column: int
) -> Predictions:
    names = scored[0].astype(str).astype(object)
    decision = np.asarray(scored[column], dtype=np.float64)
    nothing = np.empty((len(names), 2))
    return Predictions(names, names, labels[scored[0]], decision, nothing, ("a", "b"), 0.5)


def _area(fold: Predictions, weights: Floats) -> Mapping[str, Floats]:
    return {"auc": Ranking.of(fold.labels == 1, fold.decision, weights).auc()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--images", type=int, default=400)
    given = parser.parse_args()
    began = time.perf_counter()
    conditions = [(name, False) for name in WORLDS] + [(name, True) for name in WORLDS]
    found: dict[tuple[object, ...], list[bool]] = {}
    truth: dict[tuple[str, bool], list[float]] = {condition: [] for condition in conditions}
    for number in range(given.simulations):
        for condition in conditions:
            world = WORLDS[condition[0]]
            effect = world.effect if condition[1] else 1.0
            labels, scores = study(np.random.default_rng(number), given.images, world, effect)
            truth[condition] += [
                auc(labels[test], other) - auc(labels[test], one)
                for test, one, other in scores.values()
            ]
            for visits, how in ((DISTINCT, "distinct"), (ORIGINAL, "original")):
                for test, answer in answers(labels, scores, visits).items():
                    found.setdefault((how, test, condition), []).append(bool(answer))
    print(f"Share in % of {given.simulations} studies, of {given.images} images, that find a")
    print("difference at 5 %: false alarms where there is none, else power.")
    for how, title in (
        ("distinct", "Five distinct partitions"),
        ("original", "As the original loop visits them: 1, 1, 2, 2, 3"),
    ):
        print(f"\n{title}")
        print(f"{'':32}{'false alarms':>24}{'power':>24}")
        print(f"{'':32}" + "".join(f"{name:>8}" for name, _ in conditions))
        sizes = "".join(f"{100 * float(np.mean(truth[c])):>8.1f}" for c in conditions)
        print(f"{'true difference, points':32}{sizes}")
        for test in dict.fromkeys(str(key[1]) for key in found):
            rates = (100 * float(np.mean(found[how, test, c])) for c in conditions)
            print(f"{test:32}" + "".join(f"{rate:>8.1f}" for rate in rates))
    error = 196 * float(np.sqrt(0.05 * 0.95 / given.simulations))
    print(f"\n5 % is known to ±{error:.1f}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
