"""Keep the libraries' start-up chatter away from the user's terminal.

Call :func:`quiet_start` before anything imports mlflow, keras or tensorflow. Warnings and errors
still show, and whatever the user has set in the environment stays as it is.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GIT_PYTHON_REFRESH": "quiet",  # a machine without git is no news
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # the study has one display of its own
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # one line per fold; the end names the run
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a study works, and stays, on the user's machines
}
CHATTY_LOGGERS = ("alembic", "mlflow", "absl")

# TensorFlow logs these while its library loads, before it reads TF_CPP_MIN_LOG_LEVEL.
_NOISE = re.compile(rb"I\d{4} |WARNING: All log messages before absl::InitializeLog")


def quiet_start() -> None:
    """Silence information messages of the libraries that are imported from here on."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if "tensorflow" not in sys.modules and not any(
        isinstance(finder, _TensorFlowFinder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _TensorFlowFinder())


class _TensorFlowFinder(MetaPathFinder):
    """Has the first import of tensorflow done by :class:`_QuietLoader`, then steps aside."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(Loader):
    """A loader that drops the noise its module writes to standard error while it loads."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        # Whoever asks the loader for resources or source gets the real one's answer.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _noise_dropped():
            self._loader.exec_module(module)


@contextmanager
def _noise_dropped() -> Iterator[None]:
    """Hold back what the process writes to file descriptor 2, then pass on all but the noise."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held:
                if not _NOISE.match(line):
                    os.write(2, line)
