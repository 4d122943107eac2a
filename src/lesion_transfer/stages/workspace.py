"""What every stage works with: the tracker, the cache, the display, and compiled networks."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesion_transfer.errors import UserError
from lesion_transfer.reporting.progress import Progress
from lesion_transfer.stages.request import Request
from lesion_transfer.tracking import Tracker

KEPT_IN_MEMORY = 2


class Recent:
    """The last few values made, by key: data sets, compiled networks, feature matrices."""

    def __init__(self, size: int = KEPT_IN_MEMORY) -> None:
        self._values: OrderedDict[str, Any] = OrderedDict()
        self._size = size

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the value of ``key``, making it where it is not kept."""
        if key not in self._values:
            while len(self._values) >= self._size:  # before making: two never overlap the limit
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]


@dataclass(frozen=True, slots=True)
class Workspace:
    """The surroundings of one command; nothing here decides a number."""

    tracker: Tracker
    cache: Path
    progress: Progress
    force: bool
    data: Recent = field(default_factory=lambda: Recent(8))
    trainers: Recent = field(default_factory=Recent)
    networks: Recent = field(default_factory=Recent)
    feature_files: Recent = field(default_factory=Recent)
    features: Recent = field(default_factory=Recent)
    made: set[str] = field(default_factory=set)
    """Keys computed by this command: with ``force``, each is computed anew once, not again."""
    apart: set[str] = field(default_factory=set)
    """Pairs of image stores that were found to share no picture."""

    def reusable(self, key: str) -> bool:
        """Whether an existing result with this key may be used."""
        return not self.force or key in self.made

    def checkpoint(self, key: str) -> Path:
        """Return the file that holds where the training of a network stands."""
        return self.cache / "checkpoints" / f"{key}.npz"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def writable(folder: Path, parameter: str) -> None:
    """Make a folder that is to be written to.

    Raises
    ------
    UserError
        It cannot be made or written to; better found out before hours of work than after.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{parameter}={folder} cannot be written to: {error.strerror}",
            expected="a folder, or the name of one that can be made",
            next_step=f"give another folder as {parameter}=",
        ) from error


@contextmanager
def workspace(request: Request) -> Iterator[Workspace]:
    """Open the surroundings that a request asks for, and close them again."""
    writable(request.cache, "cache")
    with Progress() as progress:
        yield Workspace(Tracker(), request.cache, progress, request.force)
