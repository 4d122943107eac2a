from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.reporting import figures, roc


@pytest.fixture
def fold():
    rng = np.random.default_rng(0)
    labels = (rng.random(100) < 0.3).astype(int)
    return labels, rng.normal(size=100) + labels


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 100)
    return labels, rng.normal(size=(100, 3)) + np.eye(3)[labels]


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_roc_is_of_the_scores(fold):
    figure = roc.roc_figure(*fold, ("benign", "melanoma"), "costs $5 and $6")
    assert legend(figure) == [f"AUC {100 * auc(*fold):.1f} %"]
    false_rate, true_rate = figure.axes[0].lines[1].get_data()
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(auc(*fold))
    with Image.open(BytesIO(figures.figure_png(figure))) as image:
        assert image.format == "PNG"
        assert image.size == (600, 600)


def test_roc_area_counts_ties_as_one_half():
    labels, scores = np.array([0, 1, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 2.0, 0.0])
    line = roc.roc_figure(labels, scores, "ab").axes[0].lines[1]
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(auc(labels, scores))


def test_roc_of_three_classes_has_every_pair(three):
    assert [text.split(":")[0] for text in legend(roc.roc_figure(*three, "abc"))] == [
        "a vs b",
        "a vs c",
        "b vs c",
    ]


def test_mean_roc(fold, three):
    assert "mean of 2 folds" in legend(roc.mean_roc_figure([fold, fold], "ab"))[0]
    assert "±" not in legend(roc.mean_roc_figure([fold], "ab"))[0]
    figures.figure_png(roc.mean_roc_figure([three, three], "abc"))


def test_confusion_counts():
    figure = figures.confusion_figure(np.array([[1, 1], [0, 2]]), ("benign", "melanoma"), "t")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1\n50 %", "1\n50 %", "0\n0 %", "2\n100 %"]
    assert figures.figure_png(figure).startswith(b"\x89PNG")


def test_curves_mark_the_best_epoch():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3, 2, 1], "val_loss": [3, 1, 2]})
    figure = figures.curves_figure(history, title="t")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["kept: 2"]
    assert figures.figure_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("n", [1, 5, 18])
def test_contact_sheet(n):
    images = np.zeros((n, 16, 16, 3), dtype=np.uint8)
    figure = figures.contact_sheet(images, [f"$ {i}" for i in range(n)], "sheet")
    assert len(figure.axes) == n
    assert figures.figure_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("pairs", [1, 4, 7, 16])
def test_pairs_are_not_divided_between_rows(pairs):
    images = np.zeros((2 * pairs, 16, 16, 3), dtype=np.uint8)
    bottoms = [axes.get_position().y0 for axes in figures.contact_sheet(images, together=2).axes]
    np.testing.assert_allclose(bottoms[::2], bottoms[1::2])


def test_equal_figures_are_equal_files(fold):
    first, second = (figures.figure_png(roc.roc_figure(*fold, "ab")) for _ in range(2))
    assert first == second
