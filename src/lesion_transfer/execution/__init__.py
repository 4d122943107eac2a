"""Where folds run. Here: one after another, in this process.

A task is a small immutable value and a result is a run id, so that other places (local processes,
a cluster) can take the same tasks.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_this_process(
    tasks: Iterable[Task], work: Callable[[Task], Result]
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, in the order given."""
    for task in tasks:
        yield task, work(task)
