import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.protocols import Augmentation, Training
from lesion_transfer.training.augment import Changes
from lesion_transfer.training.batches import (
    Batch,
    Examples,
    class_weights,
    epoch_batches,
    opencv_feed,
)

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


def batches_of(examples: Examples, classes: int, spec: Training, epoch: int, seed: int, **options):
    feed = opencv_feed(examples, spec.augmentation)
    return epoch_batches(examples, classes, spec, epoch, seed, feed, **options)


def seen(batches: list[Batch]) -> np.ndarray:
    """Return the rows that count, in order."""
    return np.concatenate([b.inputs[b.weights > 0, 0, 0, 0].astype(int) for b in batches])


def epoch(labels, epoch=1, seed=0, classes=4, **values) -> list[Batch]:
    return list(batches_of(examples(labels), classes, spec(**values), epoch, seed))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.inputs, b.inputs)
        and np.array_equal(a.targets, b.targets)
        and np.array_equal(a.weights, b.weights)
        for a, b in zip(one, other, strict=True)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 20))
def test_every_batch_has_the_same_size_and_filler_weighs_nothing(count: int, size: int):
    batches = epoch(np.zeros(count, int), batch_size=size)
    assert len(batches) == -(-count // size)
    for batch in batches:
        assert batch.inputs.shape == (size, SIDE, SIDE, 3)
        assert batch.targets.shape == (size, 4)
        assert batch.weights.shape == (size,)
        assert set(batch.weights.tolist()) <= {0.0, 1.0}
    assert sum(b.weights.sum() for b in batches) == count
    assert all((b.weights == 1).all() for b in batches[:-1])


def test_types_are_what_the_network_takes():
    (batch,) = epoch([0, 1, 0])
    assert (batch.inputs.dtype, batch.targets.dtype, batch.weights.dtype) == (
        np.uint8,
        np.float32,
        np.float32,
    )


def test_without_balance_every_example_is_seen_once():
    given_examples = examples([0] * 20 + [1] * 3)
    batches = list(batches_of(given_examples, 4, spec(), 1, 0))
    assert sorted(seen(batches)) == sorted(given_examples.rows)


def test_pictures_keep_their_labels():
    labels = np.arange(30) % 3
    given_examples = examples(labels)
    label_of = dict(zip(given_examples.rows.tolist(), labels.tolist(), strict=True))
    for balance in (True, False):
        for batch in batches_of(given_examples, 4, spec(balance=balance), 1, 0):
            rows = batch.inputs[:, 0, 0, 0].tolist()
            assert_array_equal(batch.targets, np.eye(4)[[label_of[row] for row in rows]])


def test_balance_sees_the_majority_once_and_the_minority_as_often():
    given_examples = examples([0] * 20 + [1] * 3)
    majority, minority = set(given_examples.rows[:20].tolist()), given_examples.rows[20:].tolist()
    times = Counter(seen(list(batches_of(given_examples, 4, spec(balance=True), 1, 0))).tolist())
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
    repeated = batch.inputs[batch.targets[:, 1] == 1]
    assert len({image.tobytes() for image in repeated}) > 1


def test_a_slow_network_gets_the_same_batches():
    labels = np.arange(60) % 2
    options = {"batch_size": 4, "augmentation": Augmentation(brightness=0.3)}
    slowly = []
    for batch in batches_of(examples(labels), 4, spec(**options), 1, 0):
        time.sleep(0.005)
        slowly.append(batch)
    assert equal(slowly, epoch(labels, **options))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_nothing(threads: int):
    labels = np.arange(60) % 3
    options = {
        "batch_size": 4,
        "balance": "weights",
        "augmentation": Augmentation(brightness=0.3, blur=0.3, mixup=0.4),
    }
    found = list(batches_of(examples(labels), 4, spec(**options), 1, 0, threads=threads))
    assert equal(found, epoch(labels, **options))


@pytest.mark.parametrize("threads", [1, 3])
def test_few_batches_are_held_at_a_time_however_long_the_epoch(threads: int):
    """Memory does not grow with the data set: no more is read than is soon used."""
    read: list[int] = []

    def feed(chosen: np.ndarray, changes: Changes) -> np.ndarray:
        read.append(len(chosen))
        return chosen

    batches = epoch_batches(examples([0] * 200), 1, spec(batch_size=2), 1, 0, feed, threads=threads)
    for used, _ in enumerate(batches, start=1):
        assert len(read) <= used + threads + 2
    assert len(read) == 100


# --- weights of classes, and mixed examples ------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_classes_weigh_alike_and_examples_one_on_average(drawn: list[int]):
    labels = np.array(drawn)
    weights = class_weights(labels, 4)
    totals = np.bincount(labels, weights[labels], minlength=4)
    present = np.unique(labels)
    assert_allclose(totals[present], len(labels) / len(present), rtol=1e-5)
    assert not totals[[label for label in range(4) if label not in present]].any()


def test_weights_see_every_example_once():
    given_examples = examples([0] * 20 + [1] * 5)
    batches = list(batches_of(given_examples, 2, spec(balance="weights"), 1, 0))
    assert sorted(seen(batches)) == sorted(given_examples.rows)
    for batch in batches:
        real = batch.weights > 0
        assert_allclose(batch.weights[real], [0.625, 2.5] @ batch.targets[real].T)
    assert sum(batch.weights.sum() for batch in batches) == pytest.approx(25)


@pytest.mark.parametrize("balance", [False, "weights"])
def test_labels_are_mixed_as_pictures_are(balance):
    given_examples = examples([0] * 20 + [1] * 5)
    given_examples.images[given_examples.rows[:20]] = 0
    given_examples.images[given_examples.rows[20:]] = 200
    options = {"balance": balance, "batch_size": 32, "augmentation": Augmentation(mixup=1.0)}
    (batch,) = batches_of(given_examples, 2, spec(**options), 1, 0)
    STORE[:] = np.arange(256)[:, None, None, None]
    share = batch.inputs[:, 0, 0, 0] / 200
    assert ((share > 0.1) & (share < 0.9)).any()
    assert_allclose(batch.targets.sum(axis=1), 1, rtol=1e-5)
    assert not batch.weights[25:].any()
    # The loss of a mixed example is the sum of its parts', each weighing what its class does.
    of_class = np.array([0.625, 2.5] if balance else [1, 1])
    parts = np.stack([1 - share, share], axis=1) * of_class
    found = batch.targets[:25] * batch.weights[:25, None]
    assert_allclose(found, parts[:25], atol=0.01)


def test_two_epochs_at_once_do_not_disturb_each_other():
    labels = np.arange(60) % 2
    options = {"batch_size": 4, "augmentation": Augmentation(brightness=0.3)}
    one = batches_of(examples(labels), 4, spec(**options), 1, 0)
    two = batches_of(examples(labels), 4, spec(**options), 2, 0)
    together = list(zip(one, two, strict=True))
    assert equal([a for a, _ in together], epoch(labels, 1, **options))
    assert equal([b for _, b in together], epoch(labels, 2, **options))


def test_stopping_early_leaves_no_thread():
    before = threading.active_count()
    batches = batches_of(examples([0] * 200), 4, spec(batch_size=2), 1, 0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_error_while_a_batch_is_prepared_reaches_the_caller():
    beyond = Examples(STORE, np.array([0, 999]), np.array([0, 1]))
    with pytest.raises(IndexError, match="999"):
        list(batches_of(beyond, 4, spec(), 1, 0))


def test_a_memory_map_is_read_as_an_array_is(tmp_path):
    np.save(tmp_path / "images.npy", STORE)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    given_examples = examples(np.arange(20) % 2)
    other = Examples(mapped, given_examples.rows, given_examples.labels)
    for one, two in zip(
        batches_of(given_examples, 4, spec(), 1, 0),
        batches_of(other, 4, spec(), 1, 0),
        strict=True,
    ):
        assert_array_equal(one.inputs, two.inputs)
