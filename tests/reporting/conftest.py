import numpy as np
import pandas as pd
import pytest

from lesion_transfer.evaluation.contrasts import Evidence
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.statistics import summarise
from lesion_transfer.reporting.table import results_tables

CLASSES = {
    "melanoma_vs_benign": ("benign", "melanoma"),
    "melanoma_vs_carcinoma_vs_benign": ("benign", "melanoma", "carcinoma"),
}
SIGNAL = {"A": 0.4, "C": 0.5, "E": 2.0}


def evidence(design, model, folds=10):
    """An arm's folds: all arms of a design are tested on the same halves of 120 pictures."""
    classes, n = CLASSES[design], 120
    K, labels = len(CLASSES[design]), np.arange(n) % len(CLASSES[design])
    found = {}
    for number in range(folds):
        repeat, half = divmod(number, 2)
        side = np.random.default_rng(repeat).permutation(n) % 2 == half
        rows = np.flatnonzero(side)
        rng = np.random.default_rng([number, ord(model)])
        logits = rng.normal(size=(len(rows), K)) + SIGNAL[model] * np.eye(K)[labels[rows]]
        names = np.array([f"i{row}" for row in rows], object)
        found[f"{repeat + 1}x{half + 1}"] = Predictions(
            images=names,
            groups=names,
            labels=labels[rows],
            decision=logits[:, 1] - logits[:, 0] if K == 2 else logits,
            probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
            classes=classes,
            threshold=0.5 if K == 2 else float("nan"),
        )
    return Evidence.of(model, found, 10, resamples=50)


@pytest.fixture(scope="session")
def arms():
    """Evidence by design and model; C has not finished its second design."""
    return {
        design: {
            model: evidence(design, model, 7 if model == "C" and len(classes) == 3 else 10)
            for model in SIGNAL
        }
        for design, classes in CLASSES.items()
    }


@pytest.fixture(scope="session")
def table(arms):
    rows = []
    for design, models in arms.items():
        for model, found in models.items():
            summary = summarise([*found.aucs.values()])
            rows.append(
                {
                    "dataset": "synthetic",
                    "backbone": "small_vgg",
                    "protocol": "demo",
                    "image_size": 32,
                    "design": design,
                    "model": model,
                    "source": {"A": "none", "C": "retinopathy", "E": "imagenet"}[model],
                    "finetune": True,
                    "stand_in": "",
                    "n_folds": summary.n,
                    "expected_folds": 10,
                    "mean": summary.mean,
                    "sd": summary.sd,
                    "ci_low": summary.ci_low,
                    "ci_high": summary.ci_high,
                    "run_id": f"run-{model}",
                    "folds": tuple(found.aucs.values()),
                }
            )
    (found,) = results_tables(pd.DataFrame(rows))
    return found
