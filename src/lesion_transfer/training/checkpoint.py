"""Checkpoints: where a training stands, on disk, so that a killed one goes on at its last epoch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion_transfer.errors import UserError

Arrays = Sequence[npt.NDArray[np.generic]]

SPACING = 30
"""Savings are at least this many times as far apart as one takes: 3 % of the time is theirs."""


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch to keep so far: its validation loss and softmax, and the whole model's weights.

    The weights may be the backend's own arrays, but not where they are to be saved.
    """

    val_loss: float
    epoch: int
    weights: Sequence[Any]
    val_probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class State:
    """All that an epoch hands to the next one.

    Attributes
    ----------
    history
        A row of metrics per finished epoch.
    model, optimizer
        Values of their variables, after the last of them.
    """

    history: list[dict[str, float]]
    best: Best
    model: Arrays
    optimizer: Arrays


class Checkpoint:
    """One training's checkpoint file.

    Parameters
    ----------
    path
        Named by the key of the training: another one never reads it.
    every_seconds
        Least time between two savings, beside :data:`SPACING`; short trainings have none. 0: one
        after every epoch, whatever it takes.
    before_saving
        Called before each; what the finished epochs have logged must be safe by then, since a
        resumed training does not log it again.
    """

    def __init__(
        self,
        path: Path,
        every_seconds: float = 20.0,
        before_saving: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._every = self._wait = every_seconds
        self._before = before_saving
        self._last = time.monotonic()

    def offer(self, gather: Callable[[], State]) -> None:
        """Save what ``gather`` returns, if it is time; else it is not asked for."""
        began = time.monotonic()
        if began - self._last < self._wait:
            return
        self._save(gather())
        self._last = time.monotonic()
        if self._every:
            self._wait = max(self._every, SPACING * (self._last - began))

    def _save(self, state: State) -> None:
        """Write the state; a kill at any moment leaves the old one or the new."""
        self._before()
        meta = {
            "history": state.history,
            "best": [state.best.val_loss, state.best.epoch],
        }
        groups = {
            "model": state.model,
            "optimizer": state.optimizer,
            "best": state.best.weights,
        }
        arrays = {
            f"{name}_{number:04}": array
            for name, group in groups.items()
            for number, array in enumerate(group)
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as stream:
            np.savez(
                stream,
                allow_pickle=False,
                meta=np.array(json.dumps(meta)),
                val_probabilities=state.best.val_probabilities,
                **arrays,
            )
        with suppress(FileNotFoundError):  # another process has ended this training, and cleared up
            partial.replace(self._path)

    def load(self) -> State | None:
        """Read the state, or None where there is no checkpoint.

        Raises
        ------
        UserError
            The file is damaged, as after a disk was full or power failed.
        """
        if not self._path.exists():
            return None
        try:
            return self._read()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise UserError(
                f"the checkpoint {self._path} cannot be read: {error}",
                next_step="delete it; the training then starts from its first epoch",
            ) from error

    def _read(self) -> State:
        with np.load(self._path, allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            groups: dict[str, list[npt.NDArray[np.generic]]] = {
                "model": [],
                "optimizer": [],
                "best": [],
            }
            for name in sorted(stored.files):
                group = name.rpartition("_")[0]
                if group in groups:
                    groups[group].append(stored[name])
            val_loss, epoch = meta["best"]
            best = Best(val_loss, epoch, groups["best"], stored["val_probabilities"])
        return State(meta["history"], best, groups["model"], groups["optimizer"])

    def remove(self) -> None:
        """Delete the file, and what a killed process has begun of it; the training is over."""
        for path in (self._path, *self._path.parent.glob(f"{self._path.stem}.*.part")):
            path.unlink(missing_ok=True)
