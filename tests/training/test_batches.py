import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lesion_transfer.protocols import Augmentation, Training
from lesion_transfer.training.batches import Batch, Examples, epoch_batches

SIDE = 4
STORE = np.empty((256, SIDE, SIDE, 3), np.uint8)
STORE[:] = np.arange(256)[:, None, None, None]  # a picture's pixels tell its row


def spec(**values) -> Training:
    given_values = {
        "epochs": 2,
        "batch_size": 8,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "balance": False,
    } | values
    return Training(**given_values)


def examples(labels) -> Examples:
    """Examples that lie anywhere in the store."""
    labels = np.asarray(labels)
    rows = np.random.default_rng(5).permutation(256)[: len(labels)]
    return Examples(STORE, rows, labels)


def seen(batches: list[Batch]) -> np.ndarray:
    """Return the rows that count, in order."""
    return np.concatenate([b.images[b.weights > 0, 0, 0, 0].astype(int) for b in batches])


def epoch(labels, epoch=1, seed=0, **values) -> list[Batch]:
    return list(epoch_batches(examples(labels), spec(**values), epoch, seed))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.images, b.images)
        and np.array_equal(a.labels, b.labels)
        and np.array_equal(a.weights, b.weights)
        for a, b in zip(one, other, strict=True)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 20))
def test_every_batch_has_the_same_size_and_filler_weighs_nothing(count: int, size: int):
    batches = epoch(np.zeros(count, int), batch_size=size)
    assert len(batches) == -(-count // size)
    for batch in batches:
        assert batch.images.shape == (size, SIDE, SIDE, 3)
        assert batch.labels.shape == batch.weights.shape == (size,)
        assert set(batch.weights.tolist()) <= {0.0, 1.0}
    assert sum(b.weights.sum() for b in batches) == count
    assert all((b.weights == 1).all() for b in batches[:-1])


def test_types_are_what_the_network_takes():
    (batch,) = epoch([0, 1, 0])
    assert (batch.images.dtype, batch.labels.dtype.kind, batch.weights.dtype) == (
        np.uint8,
        "i",
        np.float32,
    )


def test_without_balance_every_example_is_seen_once():
    given_examples = examples([0] * 20 + [1] * 3)
    batches = list(epoch_batches(given_examples, spec(), 1, 0))
    assert sorted(seen(batches)) == sorted(given_examples.rows)


def test_pictures_keep_their_labels():
    labels = np.arange(30) % 3
    given_examples = examples(labels)
    label_of = dict(zip(given_examples.rows.tolist(), labels.tolist(), strict=True))
    for balance in (True, False):
        for batch in epoch_batches(given_examples, spec(balance=balance), 1, 0):
            rows = batch.images[:, 0, 0, 0].tolist()
            assert batch.labels.tolist() == [label_of[row] for row in rows]


def test_balance_sees_the_majority_once_and_the_minority_as_often():
    given_examples = examples([0] * 20 + [1] * 3)
    majority, minority = set(given_examples.rows[:20].tolist()), given_examples.rows[20:].tolist()
    times = Counter(seen(list(epoch_batches(given_examples, spec(balance=True), 1, 0))).tolist())
    assert all(times[row] == 1 for row in majority)
    assert sorted(times[row] for row in minority) == [6, 7, 7]


def test_the_minority_is_drawn_again_every_epoch():
    labels = [0] * 20 + [1] * 3

    def twice(number: int) -> frozenset[int]:
        times = Counter(seen(epoch(labels, epoch=number, balance=True)).tolist())
        return frozenset(row for row, count in times.items() if count == 7)

    assert len({twice(number) for number in range(1, 9)}) > 1


@pytest.mark.parametrize("balance", [True, False])
def test_seed_and_epoch_decide_and_nothing_else(balance: bool):
    labels = np.arange(40) % 4 // 3
    augmentation = Augmentation(brightness=0.3)
    options = {"balance": balance, "augmentation": augmentation}
    first = epoch(labels, 1, 0, **options)
    assert equal(first, epoch(labels, 1, 0, **options))
    assert not equal(first, epoch(labels, 2, 0, **options))
    assert not equal(first, epoch(labels, 1, 1, **options))


def test_pictures_seen_twice_are_changed_anew():
    (batch,) = epoch(
        [0] * 8 + [1], balance=True, batch_size=16, augmentation=Augmentation(brightness=0.3)
    )
    repeated = batch.images[batch.labels == 1]
    assert len({image.tobytes() for image in repeated}) > 1


def test_a_slow_network_gets_the_same_batches():
    labels = np.arange(60) % 2
    options = {"batch_size": 4, "augmentation": Augmentation(brightness=0.3)}
    slowly = []
    for batch in epoch_batches(examples(labels), spec(**options), 1, 0):
        time.sleep(0.005)
        slowly.append(batch)
    assert equal(slowly, epoch(labels, **options))


def test_two_epochs_at_once_do_not_disturb_each_other():
    labels = np.arange(60) % 2
    options = {"batch_size": 4, "augmentation": Augmentation(brightness=0.3)}
    one = epoch_batches(examples(labels), spec(**options), 1, 0)
    two = epoch_batches(examples(labels), spec(**options), 2, 0)
    together = list(zip(one, two, strict=True))
    assert equal([a for a, _ in together], epoch(labels, 1, **options))
    assert equal([b for _, b in together], epoch(labels, 2, **options))


def test_stopping_early_leaves_no_thread():
    before = threading.active_count()
    batches = epoch_batches(examples([0] * 200), spec(batch_size=2), 1, 0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_error_while_a_batch_is_prepared_reaches_the_caller():
    beyond = Examples(STORE, np.array([0, 999]), np.array([0, 1]))
    with pytest.raises(IndexError, match="999"):
        list(epoch_batches(beyond, spec(), 1, 0))


def test_a_memory_map_is_read_as_an_array_is(tmp_path):
    np.save(tmp_path / "images.npy", STORE)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    given_examples = examples(np.arange(20) % 2)
    other = Examples(mapped, given_examples.rows, given_examples.labels)
    for one, two in zip(
        epoch_batches(given_examples, spec(), 1, 0), epoch_batches(other, spec(), 1, 0), strict=True
    ):
        assert_array_equal(one.images, two.images)
