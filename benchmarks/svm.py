"""One fold's evaluation against scikit-learn's grid search: the same grid, splits and answer.

    python benchmarks/svm.py [--rows 480] [--features 4096]

Drawn features of rank 120 or so with a falling spectrum, rectified, as a layer of 4,096 gives them;
a third are positive.
The reference is GridSearchCV(SVC(kernel="linear", probability=True)): probability=True is how one
asks it for calibrated probabilities, and scikit-learn fits five more SVMs for each of its 81 fits.
Ours are chosen, fitted and calibrated too: all that a fold of a study needs. Both are in this
process, one after the other, on however many cores their libraries take.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.preprocessing import normalize
from sklearn.svm import SVC

from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.svm import fit_head
from lesion_transfer.protocols import SVM

RANK = 120
SPEC = SVM()


def pictures(rows: int, features: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw features, (rows, features), and their labels, from a world that seeds share."""
    world = np.random.default_rng(99)
    mixing, direction = world.normal(size=(RANK, features)), world.normal(size=RANK)
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 1 / 3).astype(np.int64)
    spread = np.arange(1, RANK + 1) ** -0.5
    latent = (rng.normal(size=(rows, RANK)) + 0.15 * np.outer(labels, direction)) * spread
    noise = rng.normal(size=(rows, features))
    return np.maximum(latent @ mixing + 0.3 * noise, 0).astype(np.float32), labels


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``work`` gives, and the seconds it takes."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=480)
    parser.add_argument("--features", type=int, default=4096)
    given = parser.parse_args()
    train, labels = pictures(given.rows, given.features, seed=0)
    test, truth = pictures(given.rows, given.features, seed=1)

    def ours() -> Any:
        head = fit_head(train, labels, ("benign", "melanoma"), SPEC, seed=7)
        return head, head.decision(test), head.probabilities(test)

    def theirs() -> Any:
        splits = StratifiedShuffleSplit(
            SPEC.shuffles, test_size=SPEC.validation_share, random_state=7
        )
        svc = SVC(kernel="linear", class_weight="balanced", probability=True)
        search = GridSearchCV(svc, {"C": list(SPEC.C)}, scoring="roc_auc", cv=splits)
        with warnings.catch_warnings():
            # scikit-learn 1.9 advises against probability=True, for its cost among other things.
            warnings.simplefilter("ignore", FutureWarning)
            search.fit(normalize(train.astype(np.float64)), labels)
            rows = normalize(test.astype(np.float64))
            return search, search.decision_function(rows), search.predict_proba(rows)

    (head, decision, _), seconds = min((timed(ours) for _ in range(3)), key=lambda run: run[1])
    (search, expected, _), reference = timed(theirs)
    chosen = search.best_params_["C"]
    areas = auc(truth, decision), auc(truth, expected)
    print(f"{given.rows}×{given.features} features, {len(SPEC.C)} C × {SPEC.shuffles} shuffles")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"GridSearchCV  {reference:8.2f} s   C {chosen:g}   test AUC {areas[1]:.6f}")
    print(f"ours          {seconds:8.2f} s   C {head.C:g}   test AUC {areas[0]:.6f}   best of 3")
    print(f"{reference / seconds:.0f}× faster, AUC differs by {abs(areas[0] - areas[1]):.1g}")
    if chosen != head.C or not abs(areas[0] - areas[1]) <= 1e-6:
        raise SystemExit("the answers are not the same")


if __name__ == "__main__":
    main()
