"""A run being written: buffered metrics, verified artifacts, ``complete`` written last."""

from __future__ import annotations

import getpass
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, RunTag, SourceType
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from lesion_transfer import __version__
from lesion_transfer.checkout import checkout
from lesion_transfer.tracking.schema import COMPLETE, STARTED, Kind, Tag, Unit

FLUSH_SECONDS = 5.0
PARAMS_PER_BATCH = 100  # MLflow's limits of one log_batch call
METRICS_PER_BATCH = 900
LONGEST_PARAM = 6000
SYSTEM_METRICS_EVERY = 10  # seconds


class Run:
    """One MLflow run of a :class:`Unit`, open for writing; a context manager.

    Leaving the block ends the MLflow run: ``FINISHED``, or ``FAILED`` with the error's text as a
    tag. Only :meth:`complete` makes readers count it.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, unit: Unit, on_complete: Callable[[Run], None]
    ) -> None:
        self.id = run_id
        self.unit = unit
        self._client = client
        self._on_complete = on_complete
        self._metrics: list[Metric] = []
        self._flushed = time.monotonic()
        self._artifacts: dict[str, int] = {}
        self._monitor = SystemMetricsMonitor(
            run_id,
            sampling_interval=SYSTEM_METRICS_EVERY,
            tracking_uri=client.tracking_uri,
        )

    def __enter__(self) -> Self:
        if self.unit.kind in (Kind.FOLD, Kind.SOURCE):
            self._monitor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._monitor.finish()
        if self._client.get_run(self.id).info.lifecycle_stage != LifecycleStage.ACTIVE:
            return  # another process completed the same work, and its run is the one kept
        self.flush()
        if error is None:
            self._client.set_terminated(self.id, "FINISHED")
        else:
            self._client.set_tag(self.id, Tag.ERROR, f"{type(error).__name__}: {error}"[:5000])
            stopped = isinstance(error, KeyboardInterrupt)
            self._client.set_terminated(self.id, "KILLED" if stopped else "FAILED")

    # --- what is logged

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers; they reach the server in batches, at the latest every few seconds."""
        now = int(time.time() * 1000)
        self._metrics += [Metric(name, float(v), now, step) for name, v in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def params(self, values: Mapping[str, object]) -> None:
        """Log parameters; one the run already has keeps its first value."""
        present = self._client.get_run(self.id).data.params
        new = [
            Param(name, str(value)[:LONGEST_PARAM])
            for name, value in values.items()
            if name not in present
        ]
        for start in range(0, len(new), PARAMS_PER_BATCH):
            self._client.log_batch(self.id, params=new[start : start + PARAMS_PER_BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        tags = [RunTag(str(name), value) for name, value in values.items()]
        self._client.log_batch(self.id, tags=tags)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file, under its own name."""
        self._client.log_artifact(self.id, str(path), folder or None)
        self._artifacts[f"{folder}/{path.name}".lstrip("/")] = path.stat().st_size

    def figure(self, figure: Figure, name: str) -> None:
        """Log a figure as PNG; ``name`` is the artifact's path."""
        with _scratch(name) as path:
            figure.savefig(path, dpi=110)
            self.file(path, _folder(name))

    def table(self, frame: pd.DataFrame | pa.Table, name: str) -> None:
        """Log a table as ``.parquet`` or ``.csv``, by the artifact's name."""
        if isinstance(frame, pd.DataFrame):
            frame = pa.Table.from_pandas(frame, preserve_index=False)
        write = pq.write_table if name.endswith(".parquet") else csv.write_csv
        with _scratch(name) as path:
            write(frame, path)
            self.file(path, _folder(name))

    def text(self, text: str, name: str) -> None:
        """Log a text file."""
        with _scratch(name) as path:
            path.write_text(text, encoding="utf-8")
            self.file(path, _folder(name))

    def dataset(self, frame: pd.DataFrame, name: str, digest: str, source: str) -> None:
        """Name the data this run read, as MLflow's own dataset input."""
        from mlflow.data.pandas_dataset import from_pandas
        from mlflow.entities import DatasetInput

        with warnings.catch_warnings():
            # A folder may be several kinds of source to MLflow; they differ in name alone.
            warnings.filterwarnings("ignore", message="The specified dataset source")
            data = from_pandas(frame, source=source, name=name, digest=digest)
        self._client.log_inputs(self.id, [DatasetInput(data._to_mlflow_entity())])

    # --- its life

    def flush(self) -> None:
        """Send what is buffered."""
        for start in range(0, len(self._metrics), METRICS_PER_BATCH):
            self._client.log_batch(
                self.id, metrics=self._metrics[start : start + METRICS_PER_BATCH]
            )
        self._metrics = []
        self._flushed = time.monotonic()

    def complete(self) -> None:
        """Declare the result whole, after making sure that its artifacts can be read.

        Raises
        ------
        OSError
            An artifact is missing from the store, or has another size.
        """
        self.flush()
        stored: dict[str, int | None] = {}
        for folder in {_folder(name) for name in self._artifacts}:
            listing = self._client.list_artifacts(self.id, folder or None)
            stored |= {item.path: item.file_size for item in listing}
        for name, size in self._artifacts.items():
            # A store that does not tell sizes has at least told that the file is there.
            if name not in stored or stored[name] not in (None, size):
                raise OSError(
                    f"artifact {name} of run {self.id} has {stored.get(name)} bytes in the "
                    f"artifact store; {size} were written"
                )
        self.tags({Tag.STATE: COMPLETE})
        self._on_complete(self)


def start_tags(unit: Unit, owner: str) -> dict[str, str]:
    """Return the tags a run carries from its first moment."""
    clone = checkout()
    code = {MLFLOW_GIT_COMMIT: clone.commit} if clone else {}
    if clone and clone.changed:
        code[Tag.CODE_CHANGED] = "true"
    return code | {
        MLFLOW_SOURCE_NAME: f"lesion_transfer {__version__}",
        MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.PROJECT),
        MLFLOW_USER: getpass.getuser(),
        MLFLOW_RUN_NAME: unit.name,
        MLFLOW_RUN_NOTE: unit.description,
        **unit.identity,
        **unit.tags,
        Tag.KIND: unit.kind.value,
        Tag.KEY: unit.key,
        Tag.STATE: STARTED,
        Tag.OWNER: owner,
    }


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


class _scratch:  # noqa: N801
    """A temporary path with the artifact's own file name."""

    def __init__(self, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._name = name.rpartition("/")[2]

    def __enter__(self) -> Path:
        return Path(self._folder.name, self._name)

    def __exit__(self, *_: Any) -> None:
        self._folder.cleanup()
