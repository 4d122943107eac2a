import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

from lesion_transfer.evaluation.risk import youden_threshold
from lesion_transfer.evaluation.softmax import softmax_head


@pytest.mark.parametrize("K", [2, 3])
def test_gives_what_the_network_gives(K):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(6, K)), rng.normal(size=K)
    features, labels = rng.normal(size=(40, 6)), np.arange(40) % K
    head = softmax_head(kernel, bias, "abc"[:K], features, labels)
    expected = softmax(features @ kernel + bias, axis=1)
    assert_allclose(head.probabilities(features), expected)
    assert_allclose(head.calibration_coef[:, 0], 0)
    assert head.decision(features).shape == ((40,) if K == 2 else (40, 3))
    assert 0 <= head.validation_auc <= 1
    threshold = youden_threshold(labels == 1, expected[:, 1]) if K == 2 else np.nan
    assert head.threshold == pytest.approx(threshold, nan_ok=True)
