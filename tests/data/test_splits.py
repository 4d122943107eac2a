from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_transfer.data.splits import five_by_two, fold_indices, holdout
from lesion_transfer.errors import UserError
from lesion_transfer.study import Fold, all_folds, digest


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, list[str]]:
    """Labels and groups: two to four classes, each of 6–25 groups of 1–4 images."""
    labels, groups = [], []
    for label in range(draw(st.integers(2, 4))):
        for k, size in enumerate(draw(st.lists(st.integers(1, 4), min_size=6, max_size=25))):
            labels += [label] * size
            groups += [f"g{label}-{k}"] * size
    order = draw(st.permutations(range(len(labels))))
    return np.array(labels)[order], [groups[i] for i in order]


def _named(groups: list[str], rows: np.ndarray) -> list[str]:
    return sorted(groups[i] for i in rows)


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 99))
def test_five_by_two(table: tuple[np.ndarray, list[str]], seed: int) -> None:
    labels, groups = table
    partitions = five_by_two(labels, groups, seed)
    assert [partition.repeat for partition in partitions] == [1, 2, 3, 4, 5]
    unordered = set()
    for partition in partitions:
        first, second = partition.halves
        assert sorted([*first, *second]) == list(range(len(labels)))
        assert all((np.diff(half) > 0).all() for half in partition.halves)
        assert not {groups[i] for i in first} & {groups[i] for i in second}
        for label in np.unique(labels):
            largest = max(
                Counter(g for g, k in zip(groups, labels, strict=True) if k == label).values()
            )
            gap = abs(int((labels[first] == label).sum()) - int((labels[second] == label).sum()))
            assert gap <= largest
        unordered.add(frozenset(tuple(_named(groups, half)) for half in partition.halves))
    assert len(unordered) == 5


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_the_order_of_rows(
    table: tuple[np.ndarray, list[str]], seed: int, random: object
) -> None:
    labels, groups = table
    order = np.random.default_rng(seed).permutation(len(labels))
    other_labels, other_groups = labels[order], [groups[i] for i in order]
    for one, two in zip(
        five_by_two(labels, groups, seed),
        five_by_two(other_labels, other_groups, seed),
        strict=True,
    ):
        for half, other in zip(one.halves, two.halves, strict=True):
            assert _named(groups, half) == _named(other_groups, other)
    for side, other in zip(
        holdout(labels, groups, 0.2, seed),
        holdout(other_labels, other_groups, 0.2, seed),
        strict=True,
    ):
        assert _named(groups, side) == _named(other_groups, other)


@settings(max_examples=60, deadline=None)
@given(tables(), st.floats(0.05, 0.5), st.integers(0, 99))
def test_holdout(table: tuple[np.ndarray, list[str]], share: float, seed: int) -> None:
    labels, groups = table
    kept, held = holdout(labels, groups, share, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert not {groups[i] for i in kept} & {groups[i] for i in held}
    for label in np.unique(labels):
        assert (labels[kept] == label).any()
        assert (labels[held] == label).any()
        assert abs((labels[held] == label).sum() - share * (labels == label).sum()) <= 4


def _small() -> tuple[np.ndarray, list[str]]:
    """Forty images of thirty-five lesions, the last five photographed twice."""
    groups = [f"lesion{i}" for i in [*range(35), *range(30, 35)]]
    return np.array([i % 3 == 0 for i in [*range(35), *range(30, 35)]]).astype(np.int64), groups


def test_the_splits_of_a_seed_never_change() -> None:
    labels, groups = _small()
    rows = [half.tolist() for p in five_by_two(labels, groups, 7) for half in p.halves]
    held = holdout(labels, groups, 0.1, "7/1x2")[1].tolist()
    assert digest(rows)[:16] == "61006873a29e8a3e"
    assert held == [2, 23, 24, 29]


def test_another_seed_gives_other_splits() -> None:
    labels, groups = _small()
    one, two = (five_by_two(labels, groups, seed)[0].halves[0] for seed in (0, 1))
    assert one.tolist() != two.tolist()
    assert (
        holdout(labels, groups, 0.2, 0)[1].tolist() != holdout(labels, groups, 0.2, 1)[1].tolist()
    )


def test_groups_of_several_labels_are_never_divided() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1] + [0] * 20 + [1] * 10)
    groups = ["a", "a", "b", "b", "c", "c"] + [f"s{i}" for i in range(30)]
    for partition in five_by_two(labels, groups, 0):
        first, second = partition.halves
        assert not {groups[i] for i in first} & {groups[i] for i in second}
        assert abs(len(first) - len(second)) <= 2
    kept, held = holdout(labels, groups, 0.1, 0)
    assert not {groups[i] for i in kept} & {groups[i] for i in held}


def test_a_class_of_one_group_is_refused_by_name() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    groups = ["a", "b", "c", "d", "d"]
    with pytest.raises(UserError, match=r"class melanoma has 2 image\(s\) of 1 lesion"):
        five_by_two(labels, groups, 0, classes=("benign", "melanoma"))
    with pytest.raises(UserError, match=r"class carcinoma has 0 image\(s\)"):
        five_by_two(labels[:3], groups[:3], 0, classes=("benign", "carcinoma"))


def test_too_few_partitions_are_refused() -> None:
    labels, groups = np.array([0, 0, 1, 1]), ["a", "b", "c", "d"]
    assert len(five_by_two(labels, groups, 0, repeats=2)) == 2
    with pytest.raises(UserError, match=r"repeats=5: the 4 groups .* 2 were found"):
        five_by_two(labels, groups, 0)


def test_groups_that_tie_all_classes_together_are_refused() -> None:
    labels, groups = np.array([0, 2, 0, 1, 1, 2]), ["a", "a", "b", "b", "c", "c"]
    with pytest.raises(UserError, match="no grouped split gives both halves"):
        five_by_two(labels, groups, 0, repeats=1)


def test_a_fold_trains_on_its_half() -> None:
    labels, groups = _small()
    partitions = five_by_two(labels, groups, 0)
    for fold in all_folds(5):
        train, test = fold_indices(partitions, fold)
        halves = partitions[fold.repeat - 1].halves
        assert train is halves[fold.half - 1]
        assert test is halves[2 - fold.half]
    with pytest.raises(UserError, match="6x1 is beyond the 5 repeats"):
        fold_indices(partitions, Fold(repeat=6, half=1))


def test_a_holdout_keeps_a_class_of_one_group() -> None:
    labels = np.array([0] * 10 + [1, 1])
    kept, held = holdout(labels, [*map(str, range(10)), "x", "x"], 0.3, 0)
    assert (labels[held] == 0).sum() == 3
    assert {10, 11} <= set(kept.tolist())


def test_labels_and_groups_must_match() -> None:
    with pytest.raises(ValueError, match="2 labels, but 1 groups"):
        holdout(np.array([0, 1]), ["a"], 0.1, 0)


def test_an_archive_of_many_images() -> None:
    labels = (np.arange(50_000) % 10 == 0).astype(np.int64)
    groups = [f"patient{k // 2}" for k in range(50_000)]
    (partition,) = five_by_two(labels, groups, 0, repeats=1)
    assert [len(half) for half in partition.halves] == [25_000, 25_000]
