"""The report, computed again as a reader would: from ``predictions.parquet`` of the folds alone.

With pandas, scikit-learn and SciPy; of this package only what draws the bootstrap's resamples is
used, and the figures, whose points are compared.
"""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from lesion_transfer.evaluation.bootstrap import RESAMPLES, group_counts
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.reporting.risk_figures import decision_figure, reliability_panels
from lesion_transfer.reporting.roc import GRID, roc_panels
from lesion_transfer.stages.requests import StudyRequest
from lesion_transfer.stages.study import study
from lesion_transfer.tracking import Kind

pytestmark = pytest.mark.slow

TWO, THREE = "melanoma_vs_benign", "melanoma_vs_carcinoma_vs_benign"
DESIGNS, MODELS = (TWO, THREE), ("D", "E")
FOLDS = ("1x1", "1x2", "2x1", "2x2")
PRINTED = {"rel": 1e-5, "abs": 1e-9, "nan_ok": True}
"""The report's CSV files hold six significant digits."""


@pytest.fixture(scope="module")
def report(world):
    """The folder of a study's report, and its folds' tables by (design, model, fold)."""
    protocol = world.protocol("twice", lambda text: text.replace("repeats: 1", "repeats: 2"))
    out = world.folder / "report"
    options = world.options(protocol=protocol, folds="all", out=out)
    study(StudyRequest(**options, designs=",".join(DESIGNS), models=",".join(MODELS)))
    tables = {}
    for run in world.runs(Kind.FOLD):
        tags = run.data.tags
        table = pd.read_parquet(world.artifact(run, "predictions.parquet"))
        tables[tags["design"], tags["model"], tags["fold"]] = table
    return out, tables


def classes_of(table):
    return [c.removeprefix("probability_") for c in table if c.startswith("probability_")]


def truth(table):
    return table["label"].map(classes_of(table).index).to_numpy()


def risks(table):
    return table.filter(regex="^probability_").to_numpy()


def decisions(table):
    return table.filter(regex="^decision_").to_numpy()


def outranks(member, scores, weights):
    """Chance that a member outranks another, pair by pair; one for each column of weights."""
    gap = scores[member][:, None] - scores[~member]
    wins = ((gap > 0) + 0.5 * (gap == 0)) @ weights[~member]
    return (wins * weights[member]).sum(axis=0) / (
        weights[member].sum(axis=0) * weights[~member].sum(axis=0)
    )


def one_vs_one(table, i, j, weights):
    """Hand & Till's A(i, j)."""
    y = truth(table)
    pair = np.isin(y, (i, j))
    scores = decisions(table)[pair]
    return np.mean([outranks(y[pair] == k, scores[:, k], weights[pair]) for k in (i, j)], axis=0)


def areas(table, weights):
    """The AUC, for each column of weights: how often each picture is there."""
    K = len(classes_of(table))
    if K == 2:
        return outranks(truth(table) == 1, decisions(table)[:, 0], weights)
    return np.mean([one_vs_one(table, i, j, weights) for i, j in combinations(range(K), 2)], axis=0)


def area(table):
    return areas(table, np.ones((len(table), 1))).item()


def briers(table, weights):
    K, p = len(classes_of(table)), risks(table)
    errors = ((p - np.eye(K)[truth(table)]) ** 2).sum(axis=1) / (2 if K == 2 else 1)
    return errors @ weights / weights.sum(axis=0)


def expected_metrics(table):
    """Every metric of a fold."""
    y, p, s = truth(table), risks(table), decisions(table)
    names, K = classes_of(table), p.shape[1]
    called = p[:, 1] >= table["threshold"].iloc[0] if K == 2 else p.argmax(axis=1)
    recalls = sk.recall_score(y, called, average=None)
    bins = np.clip(np.ceil(10 * p) - 1, 0, 9)
    gaps = [
        sum(
            (bins[:, k] == b).mean() * abs(np.mean(((y == k) - p[:, k])[bins[:, k] == b]))
            for b in set(bins[:, k])
        )
        for k in ([1] if K == 2 else range(K))
    ]
    found = {
        "auc": sk.roc_auc_score(y, s[:, 0]) if K == 2 else area(table),
        "average_precision": sk.average_precision_score(
            y if K == 2 else np.eye(K)[y], s[:, 0] if K == 2 else s
        ),
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "log_loss": sk.log_loss(y, p, labels=range(K)),
        "brier": briers(table, np.ones((len(y), 1))).item(),
        "calibration_error": np.mean(gaps),
    }
    if K > 2:
        pairs = {
            f"auc_{names[i]}_vs_{names[j]}": one_vs_one(table, i, j, np.ones((len(y), 1))).item()
            for i, j in combinations(range(K), 2)
        }
        return found | pairs | {f"sensitivity_{n}": r for n, r in zip(names, recalls, strict=True)}
    false, true, _ = sk.roc_curve(y, s[:, 0], drop_intermediate=False)
    acted = p[:, 1] >= 0.1
    return found | {
        "sensitivity": recalls[1],
        "specificity": recalls[0],
        "sensitivity_at_90_specificity": true[false <= 0.1 + 1e-9].max(),
        "sensitivity_at_95_specificity": true[false <= 0.05 + 1e-9].max(),
        "net_benefit_at_10": ((acted & (y == 1)).sum() - (acted & (y == 0)).sum() / 9) / len(y),
    }


def resampled(tables, metric):
    """The mean over folds, of the sample and of each resample of the groups."""
    groups = np.unique(np.concatenate([table["group_id"] for table in tables]))
    where = [np.searchsorted(groups, table["group_id"]) for table in tables]
    counts = np.hstack([*group_counts(len(groups), RESAMPLES, seed=0)])
    folds = zip(tables, where, strict=True)
    return np.mean([metric(table, counts[rows]) for table, rows in folds], axis=0)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("model", MODELS)
def test_the_table(report, design, model):
    folder, tables = report
    scores = [area(tables[design, model, fold]) for fold in FOLDS]
    each = pd.read_csv(folder / "folds.csv").set_index(["design", "model", "fold"])
    assert each.loc[(design, model)].loc[[*FOLDS], "auc"].tolist() == pytest.approx(scores)
    cell = pd.read_csv(folder / "results.csv").set_index(["design", "model"]).loc[(design, model)]
    mean, sd = np.mean(scores), np.std(scores, ddof=1)
    low, high = stats.t.interval(0.95, 3, mean, sd * math.sqrt(1 / 4 + 1))
    found = cell[["mean", "sd", "ci_low", "ci_high"]].tolist()
    assert found == pytest.approx([mean, sd, low, high], abs=1e-6)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("model", MODELS)
def test_the_metrics(report, design, model):
    folder, tables = report
    folds = [tables[design, model, fold] for fold in FOLDS]
    expected = pd.DataFrame([expected_metrics(fold) for fold in folds]).mean()
    found = pd.read_csv(folder / "metrics.csv").set_index(["design", "model", "metric"])
    found = found.loc[(design, model)]
    assert found["mean"].to_dict() == pytest.approx(expected.to_dict(), **PRINTED)
    for name, metric in {"auc": areas, "brier": briers}.items():
        low, high = np.quantile(resampled(folds, metric)[1:], [0.025, 0.975])
        assert found.loc[name, ["ci_low", "ci_high"]].tolist() == pytest.approx(
            [low, high], **PRINTED
        )


@pytest.mark.parametrize("design", DESIGNS)
def test_the_comparison_of_two_models(report, design):
    folder, tables = report
    found = pd.read_csv(folder / "contrasts.csv").set_index(["design", "first", "second"])
    found = found.loc[(design, "D", "E")]
    ours, theirs = ([tables[design, model, fold] for fold in FOLDS] for model in MODELS)
    d = np.array([area(a) - area(b) for a, b in zip(ours, theirs, strict=True)])
    halves = d.reshape(2, 2)
    spread = halves.var(axis=1, ddof=1)
    f = (d**2).sum() / (2 * spread.sum())
    t = d[0] / math.sqrt(spread.mean())
    scale = d.std(ddof=1) * math.sqrt(1 / 4 + 1)
    posterior = stats.t(3, d.mean(), scale)
    low, high = posterior.interval(0.95)
    difference = resampled(ours, areas) - resampled(theirs, areas)
    expected = {
        "folds": 4,
        "difference": d.mean(),
        "ci_low": low,
        "ci_high": high,
        "effect": d.mean() / d.std(ddof=1),
        "won": (d > 0).sum(),
        "f": f,
        "f_p": stats.f.sf(f, 4, 2),
        "f_p_holm": stats.f.sf(f, 4, 2),  # alone in its family
        "dietterich_t": t,
        "dietterich_p": 2 * stats.t.sf(abs(t), 2),
        "corrected_t": d.mean() / scale,
        "corrected_p": 2 * stats.t.sf(abs(d.mean() / scale), 3),
        "bootstrap_low": np.quantile(difference[1:], 0.025),
        "bootstrap_high": np.quantile(difference[1:], 0.975),
        "p_worse": posterior.cdf(-0.01),
        "p_same": posterior.cdf(0.01) - posterior.cdf(-0.01),
        "p_better": posterior.sf(0.01),
    }
    assert found[[*expected]].to_dict() == pytest.approx(expected, **PRINTED)
    if design == TWO:
        p = [delong(a, b) for a, b in zip(ours, theirs, strict=True)]
        assert found["delong_folds"] == sum(each < 0.05 for each in p)


def delong(first, second):
    """The p-value, with every pair of pictures compared."""
    second = second.set_index("image_id").loc[first["image_id"]].reset_index()
    y = truth(first) == 1
    wins = []
    for scores in (decisions(first)[:, 0], decisions(second)[:, 0]):
        gap = scores[y][:, None] - scores[~y]
        wins.append((gap > 0) + 0.5 * (gap == 0))
    gain = wins[0] - wins[1]
    variance = sum(gain.mean(axis=axis).var(ddof=1) / gain.shape[1 - axis] for axis in (0, 1))
    return 2 * stats.norm.sf(abs(gain.mean()) / math.sqrt(variance))


@pytest.mark.parametrize("model", MODELS)
def test_the_figures(report, model):
    _, tables = report
    folds = [tables[TWO, model, fold] for fold in FOLDS]
    shown = {model: [Predictions.of_frame(fold) for fold in folds]}

    curves = [sk.roc_curve(truth(fold), decisions(fold)[:, 0]) for fold in folds]
    mean = np.mean([np.interp(GRID, false, true) for false, true, _ in curves], axis=0)
    drawn = roc_panels(shown).axes[0].lines[-1].get_xydata()
    np.testing.assert_allclose(drawn, np.column_stack([GRID, mean]), atol=1e-9)

    pooled = pd.concat(folds)
    observed, predicted = calibration_curve(
        pooled["label"] == "melanoma", pooled["probability_melanoma"], n_bins=10
    )
    expected = {round(p, 9): o for p, o in zip(predicted, observed, strict=True)}
    points = reliability_panels(shown).axes[0].lines[1].get_xydata()
    assert len(points) > 1
    for x, y in points:
        assert expected[round(x, 9)] == pytest.approx(y)

    axes = decision_figure(shown).axes[0]
    for percent, benefit in axes.lines[0].get_xydata()[::10]:
        odds = percent / (100 - percent)
        gains = []
        for fold in folds:
            act, ill = fold["probability_melanoma"] >= percent / 100, fold["label"] == "melanoma"
            gains.append(((act & ill).sum() - odds * (act & ~ill).sum()) / len(fold))
        assert benefit == pytest.approx(100 * np.mean(gains))
