import numpy as np
import pytest
from samples import make_predictions

from lesion_transfer.evaluation.contrasts import (
    DECLARED,
    Contrast,
    Evidence,
    contrast,
    contrasts,
    duplicate_partitions,
)
from lesion_transfer.evaluation.delong import delong
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.paired import Posterior, combined_f, holm
from lesion_transfer.evaluation.predictions import Predictions

NAMES = [f"{r}x{h}" for r in range(1, 6) for h in (1, 2)]


def arm(name, signal, folds=NAMES, expected=10, n=160):
    """An arm on one data set of which every repeat tests both halves; arms share the splits."""
    whole = make_predictions(n=n, signal=0.0, seed=0)
    found = {}
    for number, fold in enumerate(NAMES):
        halves = np.random.default_rng(number // 2).permutation(n // 2) % 2 == number % 2
        rows = np.flatnonzero(np.repeat(halves, 2))
        rng = np.random.default_rng(number)
        own = np.random.default_rng([number, 99, ord(name)])
        of_both, of_one = rng.normal(size=len(rows)), own.normal(size=len(rows))
        decision = signal * whole.labels[rows] + of_both + 0.3 * of_one
        risk = 1 / (1 + np.exp(-decision))
        if fold in folds:
            found[fold] = Predictions(
                whole.images[rows], whole.groups[rows], whole.labels[rows], decision,
                np.column_stack([1 - risk, risk]), whole.classes, 0.5,
            )  # fmt: skip
    return Evidence.of(name, found, expected, resamples=100)


@pytest.fixture(scope="module")
def arms():
    return {name: arm(name, signal) for name, signal in zip("ACE", (0.5, 0.5, 2.0), strict=True)}


def test_contrasts_are_the_declared_ones_that_are_there(arms):
    found = contrasts(arms)
    assert [(c.first, c.second) for c in found] == [("A", "C"), ("A", "E"), ("C", "E")]
    assert [c.adjusted for c in found] == pytest.approx(holm(np.array([c.f.p for c in found])))
    assert len(DECLARED) == 6


def test_every_number_is_that_of_its_folds(arms):
    found = contrast(arms["E"], arms["A"])
    ours, theirs = (
        np.array([auc(arms[a].folds[f].labels, arms[a].folds[f].decision) for f in NAMES])
        for a in "EA"
    )
    assert found.difference == pytest.approx((ours - theirs).mean())
    assert found.won == (ours > theirs).sum()
    assert found.f == combined_f((ours - theirs).reshape(5, 2))
    one, other = arms["E"].folds["2x1"], arms["A"].folds["2x1"]
    assert found.delong[2] == delong(one.labels, one.decision, other.decision)
    assert found.bootstrap.value == pytest.approx(found.difference)
    assert found.bootstrap.low < found.difference < found.bootstrap.high
    assert "E is better than A" in contrasts(arms, [("A", "E")])[0].verdict


def test_pictures_may_come_in_another_order(arms):
    folds = {}
    for name, fold in arms["A"].folds.items():
        rows = np.random.default_rng(0).permutation(len(fold.labels))
        folds[name] = Predictions(
            fold.images[rows], fold.groups[rows], fold.labels[rows], fold.decision[rows],
            fold.probabilities[rows], fold.classes, fold.threshold,
        )  # fmt: skip
    shuffled = Evidence.of("A", folds, 10, resamples=100)
    found, expected = contrast(arms["E"], shuffled), contrast(arms["E"], arms["A"])
    assert found.delong == expected.delong
    assert found.bootstrap == pytest.approx(expected.bootstrap)


def test_what_cannot_be_tested_says_why(arms):
    whole = arms["A"]
    some = Evidence("C", {name: whole.folds[name] for name in NAMES[:9]}, 10)
    assert contrast(whole, some).problem == "C has 9 of 10 folds"
    assert contrast(whole, some).verdict == "Not tested: C has 9 of 10 folds."
    once = Evidence("C", {name: whole.folds[name] for name in NAMES[:2]}, 2)
    assert "repeated at least twice" in contrast(once, once).problem
    swapped = dict(whole.folds)
    swapped["1x1"], swapped["1x2"] = swapped["1x2"], swapped["1x1"]
    assert "not tested on the same pictures in fold 1x1" in (
        contrast(whole, Evidence("C", swapped, 10)).problem
    )
    for column, value in (("labels", 1 - whole.folds["2x1"].labels), ("groups", "one patient")):
        fold = whole.folds["2x1"]
        changed = Predictions(**vars(fold) | {column: np.full_like(vars(fold)[column], value)})
        other = Evidence("C", dict(whole.folds) | {"2x1": changed}, 10)
        assert "fold 2x1 have another class or group" in contrast(whole, other).problem
    tested = contrasts({"A": whole, "C": some, "E": arms["E"]})
    assert [bool(c.problem) for c in tested] == [True, False, True]
    assert tested[1].adjusted == tested[1].f.p, "only what was tested counts for Holm"


def test_duplicate_partitions_are_refused(arms):
    twice = {
        name: arms["A"].folds[name.replace("3x", "1x") if name.startswith("3") else name]
        for name in NAMES
    }
    again = Evidence("A", twice, 10)
    assert contrast(again, again).problem == (
        "repeats 1 and 3 are the same partition, which is refused"
    )
    halves = {"1x1": "ab", "1x2": "cd", "2x1": "cd", "2x2": "ab"}
    assert "repeats 1 and 2" in duplicate_partitions({k: list(v) for k, v in halves.items()})
    assert "folds 1x1 and 1x2" in duplicate_partitions({"1x1": ["a"], "1x2": ["a"]})
    assert duplicate_partitions({"1x1": ["a"], "1x2": ["b"]}) == ""


def test_a_fold_without_a_class_is_not_tested(arms):
    folds = dict(arms["A"].folds)
    folds["1x1"] = Predictions(
        **vars(folds["1x1"]) | {"labels": np.zeros_like(folds["1x1"].labels)}
    )
    broken = Evidence("A", folds, 10)
    assert "no picture of some class" in contrast(broken, broken).problem


VERDICTS = [
    # difference, low, high, Holm's p, better, same
    (0.03, 0.01, 0.05, 0.001, 0.97, 0.03, "E is better than D, by more than 1 point: from 1.0 to"),
    (-0.03, -0.07, -0.01, 0.001, 0.0, 0.03, "D is better than E, by more than 1 point: from 1.0"),
    (0.004, 0.001, 0.01, 0.001, 0.02, 0.97, "E scores higher than D, but hardly enough to matter"),
    (0.015, 0.01, 0.05, 0.03, 0.7, 0.3, "whether by enough to matter is open"),
    (0.015, -0.01, 0.04, 0.03, 0.7, 0.3, "Not established: the primary test finds E ahead, but"),
    (0.001, -0.01, 0.01, 0.9, 0.02, 0.97, "No evidence of a difference, and one of more than 1 p"),
    (0.03, 0.01, 0.05, 0.2, 0.97, 0.03, "Not established: the folds lean towards E"),
    (
        0.01,
        -0.02,
        0.04,
        0.6,
        0.5,
        0.4,
        "may be anything from 2.0 points in favour of D to 4.0 in favour of E.",
    ),
]


@pytest.mark.parametrize(("difference", "low", "high", "p", "better", "same", "text"), VERDICTS)
def test_verdicts(difference, low, high, p, better, same, text):
    found = Contrast(
        "E", "D", folds=10, difference=difference, low=low, high=high, adjusted=p,
        posterior=Posterior(1 - same - better, same, better),
    )  # fmt: skip
    assert text in found.verdict
    assert found.established == (p < 0.05 and (low > 0 or high < 0))
    assert found.established == (" is better than " in text or "E scores higher" in text
                                 or text.startswith("whether"))  # fmt: skip
    assert "equal" not in found.verdict
