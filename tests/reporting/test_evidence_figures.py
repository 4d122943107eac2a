import re

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from lesion_transfer.evaluation.risk import Reliability, net_benefit
from lesion_transfer.reporting.forest import ForestRow, forest_figure, forest_rows
from lesion_transfer.reporting.risk_figures import (
    THRESHOLDS,
    decision_figure,
    reliability_panels,
)
from lesion_transfer.reporting.roc import roc_panels
from lesion_transfer.reporting.style import figure_png, figure_svg, new_figure

TWO = "melanoma_vs_benign"


@pytest.fixture
def folds(arms):
    return {model: [*found.folds.values()] for model, found in arms[TWO].items()}


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    "note",
    [
        "imagenet+retinopathy, fine-tuned",
        "isic2017, efficientnet_lite0_imagenet, 128 px, modern",
        f"{'a_long_name_' * 4}, vgg_m, modern+epochs=100",
    ],
)
def test_forest_labels_stay_beside_the_plot_and_apart(table, note):
    cell = forest_rows(table, TWO)[0].cell
    figure = forest_figure([ForestRow("E", note, cell), ForestRow("F", note, cell)])
    plot = figure.axes[0].get_window_extent()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_position()[0] == 0]
    assert len(boxes) == 4
    assert plot.width > 100
    assert all(box.x1 <= plot.x0 for box in boxes)
    assert boxes[1].y0 >= boxes[2].y1, "the first arm's note ends above the second arm's name"


def test_forest_shows_cells(table):
    rows = forest_rows(table, TWO)
    assert [row.name for row in rows] == ["A", "C", "E"], "what was not run has no line"
    figure = forest_figure(rows)
    assert {row.cell.text for row in rows} <= set(texts(figure))
    assert {row.cell.interval for row in rows} <= set(texts(figure))
    (axes,) = figure.axes
    spans = [each for each in axes.collections if isinstance(each, LineCollection)]
    lines = [span.get_segments()[0][:, 0] for span in spans]
    assert 100 * rows[0].cell.ci_low == pytest.approx(lines[0][0])
    low, high = axes.get_xlim()
    for row in rows:
        assert low < 100 * min(row.cell.folds)
        assert 100 * max(row.cell.folds) < high


def test_an_incomplete_cell_says_so(table):
    rows = forest_rows(table, "melanoma_vs_carcinoma_vs_benign")
    assert any("7/10" in text for text in texts(forest_figure(rows)))


def test_roc_panels_show_each_arms_area(folds, table):
    figure = roc_panels(folds)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["A", "C", "E"]
    shown = [axes.texts[0].get_text() for axes in figure.axes]
    assert shown == [f"{100 * table.cells[TWO, model].mean:.1f} %" for model in "ACE"]


def test_reliability_is_of_all_folds(folds):
    axes = reliability_panels(folds).axes[0]
    pooled = Reliability.of(
        np.concatenate([fold.labels == 1 for fold in folds["A"]]),
        np.concatenate([fold.probabilities[:, 1] for fold in folds["A"]]),
    )
    drawn = axes.lines[1].get_xydata()
    assert len({image for fold in folds["A"] for image in fold.images}) * 5 == pooled.count.sum()
    expected = np.column_stack([pooled.predicted, pooled.observed])[pooled.count >= 10 * 5]
    np.testing.assert_allclose(drawn, expected)


def test_three_classes_have_a_colour_each(arms):
    three = arms["melanoma_vs_carcinoma_vs_benign"]
    figure = reliability_panels({model: [*arm.folds.values()] for model, arm in three.items()})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["benign", "melanoma", "carcinoma"]


def test_decision_curve_is_net_benefit_per_100(folds):
    axes = decision_figure(folds).axes[0]
    fold = [
        net_benefit(
            each.labels == 1, each.probabilities[:, 1], THRESHOLDS, np.ones((len(each.labels), 1))
        )[:, 0]
        for each in folds["A"]
    ]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 100 * np.mean(fold, axis=0))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["A", "C", "E", "act on all", "act on none"]


def test_svg_is_the_same_twice_and_escapes_its_label(folds):
    first, second = (figure_svg(roc_panels(folds), "a <b>") for _ in range(2))
    assert first == second
    assert 'aria-label="a &lt;b&gt;"' in first
    assert "<metadata" not in first


def test_figures_of_one_width_have_one_scale(folds, table):
    figures = [
        roc_panels({"A": folds["A"]}),
        roc_panels(folds),
        reliability_panels(folds),
        decision_figure(folds),
        forest_figure(forest_rows(table, TWO)),
    ]
    widths = [
        float(re.search(r'viewBox="0 0 ([\d.]+) ', figure_svg(each, "")).group(1))
        for each in figures
    ]
    assert widths == pytest.approx([widths[0]] * 5, rel=0.02)


def test_the_label_of_one_panel_is_below_it(folds):
    figure = roc_panels({"A": folds["A"]})
    (axes,) = figure.axes
    assert figure.texts[0].get_position()[0] == pytest.approx(axes.get_position().x0
        + axes.get_position().width / 2)  # fmt: skip


def test_an_empty_figure_can_be_written():
    assert figure_png(new_figure(1, 1)).startswith(b"\x89PNG")
