"""What a command says when it is done: what was done, where it is, what next."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console, RenderableType
from rich.text import Text

LOG_WIDTH = 160
"""Columns of a file or pipe: it has no edge to wrap at, and a table must not be squeezed."""


class Outcome(Protocol):
    """What the result of every stage can say about itself."""

    @property
    def done(self) -> RenderableType:
        """What was done: a sentence, or tables."""

    @property
    def where(self) -> str:
        """Where it is: a folder or a run; empty where there is nothing to look at."""

    @property
    def next_step(self) -> str:
        """A command that goes on from here; empty at the end of the road."""


def show(outcome: Outcome) -> None:
    """Print the end of a command."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    done = outcome.done
    # Text, because the names in a sentence may hold what rich takes for markup.
    console.print(Text(done) if isinstance(done, str) else done)
    for label, text in (("Where:", outcome.where), ("Next: ", outcome.next_step)):
        if text:
            # Not wrapped: it is there to be copied.
            console.print(Text.assemble((label, "bold"), " ", text), soft_wrap=True)
