import numpy as np

from lesion_transfer.evaluation.metrics import fold_metrics
from lesion_transfer.evaluation.predictions import Predictions

CLASSES = {2: ("benign", "melanoma"), 3: ("benign", "melanoma", "carcinoma")}


def make_predictions(K=2, n=120, seed=0, signal=1.0, ties=False, group_size=2, threshold=0.4):
    """A fold's predictions: groups share a label, decisions favour the true class."""
    rng = np.random.default_rng(seed)
    n_groups = -(-n // group_size)
    of_group = np.append(np.arange(K), rng.choice(K, n_groups - K))
    group = np.repeat(np.arange(n_groups), group_size)[:n]
    labels = of_group[group]
    decision = rng.normal(size=(n, K)) + signal * np.eye(K)[labels]
    if ties:
        decision = np.round(decision)
    logits = decision - decision.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        images=np.array([f"i{i}" for i in range(n)], object),
        groups=np.array([f"g{g}" for g in group], object),
        labels=labels.astype(np.int64),
        decision=decision[:, 1] - decision[:, 0] if K == 2 else decision,
        probabilities=probabilities,
        classes=CLASSES[K],
        threshold=threshold if K == 2 else float("nan"),
    )


def metrics_of(fold):
    return fold_metrics(
        fold.labels, fold.decision, fold.probabilities, fold.classes, fold.threshold
    )
