"""The one live display of a study: what is done, what runs now, how long it will take.

In a terminal it is a calm region at the bottom that is redrawn in place; elsewhere (a file, a CI
log) it is a plain line now and then, without control characters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import RLock
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LINE_INTERVAL = 10.0
"""Seconds between two plain lines, at least."""


class Progress:
    """Shows the progress of a study; a context manager, safe to call from any thread.

    Parameters
    ----------
    console
        Where to write; None: standard output.
    quiet
        Write nothing at all.
    clock
        Seconds, never running backwards; for tests.

    Examples
    --------
    >>> with Progress(quiet=True) as progress:
    ...     progress.start(180, "folds")
    ...     progress.now("melanoma_vs_benign · E · fold 3x2")
    ...     progress.advance()
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console()
        self._quiet = quiet
        self._clock = clock
        self._lock = RLock()
        self._live: Live | None = None
        self._what, self._now = "", ""
        self._noted: set[str] = set()
        self._done, self._total = 0, 0
        self._part: tuple[int, int] | None = None
        self._fresh, self._fresh_seconds = 0, 0.0
        self._began = self._last_advance = clock()
        self._last_line = self._began

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._region,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def start(self, total: int, what: str) -> None:
        """Begin to count ``total`` units called ``what`` (``folds``)."""
        with self._lock:
            self._what, self._done, self._total = what, 0, total
            self._fresh, self._fresh_seconds, self._part = 0, 0.0, None
            self._began = self._last_advance = self._clock()

    def total(self, n: int) -> None:
        """Correct the number of units."""
        with self._lock:
            self._total = n

    def now(self, text: str) -> None:
        """Say what runs now."""
        with self._lock:
            self._now, self._part = text, None
            self._line_if_due()

    def track(self, done: int, total: int) -> None:
        """Say how far that is: images preprocessed, epochs trained."""
        with self._lock:
            self._part = (done, total)
            self._line_if_due()

    def advance(self, n: int = 1, *, reused: bool = False) -> None:
        """Count ``n`` units as done; ``reused`` where they were found and not computed."""
        with self._lock:
            moment = self._clock()
            if not reused:
                self._fresh += n
                self._fresh_seconds += moment - self._last_advance
            self._last_advance = moment
            self._done += n
            self._part = None
            self._line_if_due()

    def note(self, text: str) -> None:
        """Write a line that stays; of equal ones, which the arms of a study give, the first."""
        with self._lock:
            if text in self._noted:
                return
            self._noted.add(text)
            if not self._quiet:
                # Not wrapped and not interpreted: it is read by people and by grep.
                self._console.print(Text(text), soft_wrap=True)
                self._last_line = self._clock()

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the units computed so far; None before the first.

        Units found and not computed do not count: they would promise a speed that does not last.
        """
        if self._fresh == 0:
            return None
        left = max(self._total - self._done, 0)
        each = self._fresh_seconds / self._fresh
        running = min(self._clock() - self._last_advance, each)  # of the unit under way
        return max(left * each - running, 0.0)

    def _line_if_due(self) -> None:
        """Without a live region: a line, if the last one is old enough."""
        moment = self._clock()
        if self._quiet or self._live is not None or moment - self._last_line < LINE_INTERVAL:
            return
        self._last_line = moment
        parts = [self._count(), self._left(), self._what_runs()]
        self._console.print(Text(" · ".join(filter(None, parts))), soft_wrap=True)

    def _region(self) -> RenderableType:
        with self._lock:
            running = Text(self._what_runs(), style="dim", no_wrap=True, overflow="ellipsis")
            if not self._total:
                return running
            line = Table.grid(padding=(0, 2))
            times = f"{duration(self._clock() - self._began)} elapsed"
            line.add_row(
                ProgressBar(total=self._total, completed=self._done, width=28),
                Text(self._count(), style="bold"),
                Text(" · ".join(filter(None, (times, self._left()))), style="dim"),
            )
            return Group(line, running)

    def _count(self) -> str:
        return f"{self._done}/{self._total} {self._what}".rstrip() if self._total else ""

    def _left(self) -> str:
        left = self.seconds_left
        return "" if left is None or self._done >= self._total else f"{duration(left)} left"

    def _what_runs(self) -> str:
        return self._now if self._part is None else f"{self._now} {self._part[0]}/{self._part[1]}"


def duration(seconds: float) -> str:
    """Return ``8 s``, ``3 min``, ``2 h 05 min``: as exact as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
