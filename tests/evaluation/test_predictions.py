import numpy as np
from numpy.testing import assert_array_equal

from lesion_transfer.evaluation.predictions import Predictions


def fold(labels: list[int], probabilities: list[list[float]], threshold: float) -> Predictions:
    names = np.array([f"i{row}" for row in range(len(labels))], object)
    found = np.array(probabilities)
    classes = ("benign", "melanoma", "carcinoma")[: found.shape[1]]
    return Predictions(names, names, np.array(labels), found, found, classes, threshold)


def two(labels: list[int], positive: list[float], threshold: float) -> Predictions:
    return fold(labels, [[1 - p, p] for p in positive], threshold)


def test_the_surest_come_first_and_classes_take_turns():
    found = two([0, 0, 0, 1, 1], [0.1, 0.01, 0.05, 0.6, 0.9], 0.5)
    assert_array_equal(found.most_confident(4, right=True), [1, 4, 2, 3])
    assert_array_equal(found.most_confident(9, right=True), [1, 4, 2, 3, 0])
    assert_array_equal(found.most_confident(4, right=False), [])


def test_sure_means_far_from_the_threshold_that_was_chosen():
    # At a threshold of 0.1, 0.3 is a surer yes than 0.09 is a no.
    found = two([1, 0, 1, 0], [0.09, 0.3, 0.02, 0.11], 0.1)
    assert_array_equal(found.predicted, [0, 1, 0, 1])
    assert_array_equal(found.most_confident(4, right=False), [2, 1, 0, 3])


def test_of_three_classes_the_most_probable_is_the_answer():
    found = fold([0, 1, 2, 2], [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.9, 0, 0.1], [0, 0, 1]], np.nan)
    assert_array_equal(found.most_confident(3, right=True), [3, 1, 0])
    assert_array_equal(found.most_confident(3, right=False), [2])


def test_certainty_itself_has_an_order_too():
    found = two([0, 1, 0], [0.0, 1.0, 1.0], 0.5)
    assert_array_equal(found.most_confident(2, right=True), [0, 1])
    assert_array_equal(found.most_confident(2, right=False), [2])
    assert_array_equal(two([0, 1], [0.0, 0.0], 0.0).most_confident(2, right=True), [1])
