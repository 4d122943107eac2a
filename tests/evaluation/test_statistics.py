import math

import pytest
from scipy import stats

from lesion_transfer.evaluation.statistics import Summary, summarise

VALUES = [0.80, 0.82, 0.79, 0.85, 0.81, 0.80, 0.83, 0.84, 0.78, 0.82]


def test_interval_is_nadeau_and_bengios():
    found = summarise(VALUES)
    assert found.mean == pytest.approx(0.814)
    assert found.sd == pytest.approx(stats.tstd(VALUES))
    half_width = 2.2621571628 * found.sd * math.sqrt(0.1 + 1)
    assert found.ci_low == pytest.approx(0.814 - half_width)
    assert found.ci_high == pytest.approx(0.814 + half_width)


def test_without_test_data_in_common_it_is_the_usual_interval():
    found = summarise(VALUES, confidence=0.9, test_train_ratio=0)
    usual = stats.t.interval(0.9, 9, 0.814, stats.sem(VALUES))
    assert (found.ci_low, found.ci_high) == pytest.approx(usual)


def test_one_value_has_no_spread():
    assert summarise([0.8]) == pytest.approx(Summary(1, 0.8, *[math.nan] * 3), nan_ok=True) or (
        math.isnan(summarise([0.8]).sd) and math.isnan(summarise([0.8]).ci_low)
    )


def test_nan_is_not_left_out():
    assert math.isnan(summarise([0.8, math.nan]).mean)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([0.5], 1.0)])
def test_refuses(values, confidence):
    with pytest.raises(ValueError):  # noqa: PT011
        summarise(values, confidence)
