import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from test_loop import data, network, spec

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.protocols import starting_from
from lesion_transfer.training.classifier import MAX_PROBED, probe, probed, random_classifier
from lesion_transfer.training.loop import Trainer


def clouds(classes: int, counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positive features whose classes lie apart, but not wholly."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), counts)
    centres = rng.uniform(0, 2, (classes, 12))
    return np.abs(centres[labels] + rng.normal(0, 0.7, (len(labels), 12))).astype("f"), labels


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_a_random_classifier_is_the_seeds(seed: int):
    kernel, bias = random_classifier(50, 3, seed)
    assert kernel.shape == (50, 3)
    assert np.abs(kernel).max() <= np.sqrt(6 / 53)
    assert_array_equal(bias, 0)
    assert_array_equal(kernel, random_classifier(50, 3, seed)[0])
    assert not np.array_equal(kernel, random_classifier(50, 3, seed + 1)[0])


@pytest.mark.parametrize(("classes", "counts"), [(2, [80, 20]), (3, [60, 30, 20])])
def test_a_probe_tells_the_classes_apart_with_the_probabilities_asked_for(classes, counts):
    features, labels = clouds(classes, counts)
    for balanced in (False, True):
        kernel, bias = probe(features, labels, np.ones(classes) if balanced else counts, 0)
        assert (kernel.shape, bias.shape) == ((12, classes), (classes,))
        probabilities = softmax(features @ kernel + bias, axis=1)
        assert auc(labels, probabilities[:, 1] if classes == 2 else probabilities) > 0.9
        weights = np.bincount(labels)[labels] ** -1.0 if balanced else np.ones(len(labels))
        mean = np.average(probabilities, axis=0, weights=weights)
        frequencies = (
            np.full(classes, 1 / classes) if balanced else np.bincount(labels) / len(labels)
        )
        assert_allclose(mean, frequencies, atol=0.1)


def test_what_cannot_be_probed_is_named():
    features, labels = clouds(2, [5, 1])
    with pytest.raises(UserError, match="1 training pictures of class 1"):
        probe(features, labels, [1, 1], 0)
    features, labels = clouds(2, [5, 5])
    for bad in (0.0, np.nan):
        with pytest.raises(UserError, match="mean length of"):
            probe(features * np.float32(bad), labels, [1, 1], 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=2, max_size=5), st.integers(0, 99))
def test_a_probe_sees_few_pictures_of_all_classes(counts: list[int], seed: int):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    few = probed(labels, seed)
    assert_array_equal(few, probed(labels, seed))
    assert np.all(np.diff(few) > 0)
    if len(labels) <= MAX_PROBED:
        assert len(few) == len(labels)
    else:
        wanted = np.minimum(counts, MAX_PROBED // len(counts))
        assert_array_equal(np.bincount(labels[few]), wanted)


def test_training_starts_from_the_probe_on_the_sources_features():
    training, validation = data()
    first = Trainer(network(), 2, spec(epochs=1, learning_rate=1e-9, probe=True, ema=0.9))
    done = first.fit(network().get_weights(), training, validation, 0)
    plain = Trainer(network(), 2, spec(epochs=1, learning_rate=1e-9))
    other = plain.fit(network().get_weights(), training, validation, 0)
    assert done.history["val_loss"][0] < other.history["val_loss"][0]
    features = network()(training.images[training.rows].astype("f")).numpy()
    kernel, bias = probe(features, training.labels, [1, 1], 0)
    for ours, expected in zip(first.classifier.get_weights(), (kernel, bias), strict=True):
        assert_allclose(ours, expected, atol=1e-4)


def test_random_weights_have_no_features_to_probe():
    asked = spec(probe=True, layer_decay=0.7, freeze_batch_norm=True)
    assert starting_from(asked, random=False) == asked
    assert starting_from(asked, random=True) == spec()
