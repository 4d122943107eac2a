from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lesion_transfer.data.balance import balanced_epoch


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(0, 9), st.integers(0, 9))
def test_every_class_as_often_as_the_largest(classes: list[int], epoch: int, seed: int) -> None:
    labels = np.array(classes)
    order = balanced_epoch(labels, epoch, seed)
    largest = max(Counter(classes).values())
    assert set(Counter(labels[order].tolist()).values()) == {largest}
    visits = Counter(order.tolist())
    for label, count in Counter(classes).items():
        times = [visits[i] for i in np.flatnonzero(labels == label)]
        assert min(times) == largest // count
        assert max(times) - min(times) <= 1
    np.testing.assert_array_equal(order, balanced_epoch(labels, epoch, seed))


def test_epochs_and_seeds_differ() -> None:
    labels = np.array([0] * 50 + [1] * 20)
    orders = {tuple(balanced_epoch(labels, e, s).tolist()) for e in range(3) for s in range(3)}
    assert len(orders) == 9


def test_of_nothing() -> None:
    assert balanced_epoch(np.empty(0, np.int64), 0, 0).size == 0
