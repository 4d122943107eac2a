"""What a fold says about its test half, and the table that holds it: ``predictions.parquet``.

Every number of the report can be computed from these tables alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Names = NDArray[np.object_]

DECISION, PROBABILITY = "decision_", "probability_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """A fold's test half.

    Attributes
    ----------
    images, groups
        Shape (n,), strings: what must never be split shares a group.
    labels
        Shape (n,), indices into ``classes``.
    decision
        Shape (n,) for two classes, (n, K) for K; any scale.
    probabilities
        Shape (n, K), rows summing to 1.
    classes
        The K class names; of two, the second is the positive one.
    threshold
        Two classes: the positive probability from which a picture is called positive, chosen on
        the training half. NaN for more, where the most probable class is the answer.
    """

    images: Names
    groups: Names
    labels: Integers
    decision: Floats
    probabilities: Floats
    classes: tuple[str, ...]
    threshold: float

    @property
    def predicted(self) -> Integers:
        """The class each picture is given, (n,): see ``threshold``."""
        if len(self.classes) == 2:
            return (self.probabilities[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    def most_confident(self, count: int, *, right: bool) -> Integers:
        """Return up to ``count`` rows, (m,): the right or the wrong answers given most surely.

        The true classes take turns, or the rare one would not be seen; the surest go first.
        """
        given = self.predicted
        share = self.probabilities[np.arange(len(given)), given].clip(1e-12, 1 - 1e-12)
        sure = np.log(share / (1 - share))
        if len(self.classes) == 2:  # in log-odds, the way to the threshold, not to one half
            bar = np.clip(self.threshold, 1e-12, 1 - 1e-12)
            sure += np.where(given == 1, -1, 1) * np.log(bar / (1 - bar))
        turns = [
            (turn, -sure[row], row)
            for label in range(len(self.classes))
            for turn, row in enumerate(
                sorted(
                    np.flatnonzero((self.labels == label) & ((given == label) == right)),
                    key=lambda row: (-sure[row], row),
                )
            )
        ]
        return np.array([row for _, _, row in sorted(turns)[:count]], np.int64)

    def frame(self) -> pd.DataFrame:
        """Return the table: one row an image, the class names in the columns' names."""
        columns: dict[str, object] = {
            "image_id": self.images,
            "group_id": self.groups,
            "label": np.array(self.classes, object)[self.labels],
        }
        decisions = self.decision.reshape(len(self.labels), -1)
        names = self.classes[-decisions.shape[1] :]
        columns |= {f"{DECISION}{name}": decisions[:, i] for i, name in enumerate(names)}
        columns |= {
            f"{PROBABILITY}{name}": self.probabilities[:, i] for i, name in enumerate(self.classes)
        }
        if len(self.classes) == 2:
            columns["threshold"] = self.threshold
        return pd.DataFrame(columns)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Predictions:
        """Read what :meth:`frame` returns.

        Raises
        ------
        ValueError
            A label is no class of the table.
        """
        columns = [str(name) for name in frame.columns if str(name).startswith(PROBABILITY)]
        classes = tuple(name.removeprefix(PROBABILITY) for name in columns)
        labels = pd.Index(classes).get_indexer(pd.Index(frame["label"]))
        if (labels < 0).any():
            unknown = frame["label"].iloc[int((labels < 0).argmax())]
            raise ValueError(f"label {unknown!r} is none of {', '.join(classes)}")
        decisions = frame.filter(regex=f"^{DECISION}").to_numpy(np.float64)
        # Tables without a threshold were written when 0.5 was the only one.
        threshold = float(frame["threshold"].iloc[0]) if "threshold" in frame else 0.5
        return cls(
            images=frame["image_id"].to_numpy(object),
            groups=frame["group_id"].to_numpy(object),
            labels=labels.astype(np.int64),
            decision=decisions[:, 0] if decisions.shape[1] == 1 else decisions,
            probabilities=frame[columns].to_numpy(np.float64),
            classes=classes,
            threshold=threshold if len(classes) == 2 else float("nan"),
        )


def confusion(folds: Sequence[Predictions]) -> Integers:
    """Count true (rows) against predicted (columns) classes over folds of one arm, (K, K)."""
    K = len(folds[0].classes)
    flat = np.concatenate([K * fold.labels + fold.predicted for fold in folds])
    return np.bincount(flat, minlength=K * K).reshape(K, K)
