"""Looking runs up by key, opening new ones, and taking over the run of ``mlflow run``."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import requests
from alembic.util import CommandError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError

from lesion_transfer.errors import UserError
from lesion_transfer.tracking import reading
from lesion_transfer.tracking.moving import move_run
from lesion_transfer.tracking.reading import StoredRun, stored_run
from lesion_transfer.tracking.runs import Run, start_tags
from lesion_transfer.tracking.schema import COMPLETE, STARTED, Kind, Tag, Unit

TRIES = 5
LONGEST_TAG = 5000
EXPERIMENT_KIND = "mlflow.experimentKind"


class Tracker:
    """One experiment on one tracking server.

    Which server and experiment, MLflow's own settings decide: ``MLFLOW_TRACKING_URI``,
    ``MLFLOW_EXPERIMENT_NAME`` or ``MLFLOW_EXPERIMENT_ID``; without them, ``mlflow.db`` in the
    working directory and the experiment ``Default``, as for every MLflow project.

    ``mlflow run`` opens a run before this code starts and hands over its id. That run always ends
    up holding the command's result: the unit of work opened with ``adopt=True`` is logged in it,
    and one that is there already is moved into it. So it is never empty and nothing is there twice.
    (Removing it instead would make ``mlflow run`` fail, which closes it at the end.)
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.uri = environment.get("MLFLOW_TRACKING_URI") or get_tracking_uri()
        self._client, self.experiment_id = self._connected(environment)
        self._handed_over = environment.get("MLFLOW_RUN_ID")
        self._owner = f"{socket.gethostname()}/{os.getpid()}"

    def _connected(self, environment: Mapping[str, str]) -> tuple[MlflowClient, str]:
        """Return a client that has answered, and the experiment's id.

        Of several processes that make a database or an experiment at once, all but one fail at
        their first try and find it made at the next.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                if self.uri.startswith("http"):  # MLflow's own retries take minutes to give up
                    requests.get(f"{self.uri}/health", timeout=20)
                client = MlflowClient(self.uri)
                return client, self._experiment(client, environment)
            except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
                if not tries_left:
                    raise UserError(
                        f"the tracking server {self.uri} cannot be used: {error}",
                        next_step="check MLFLOW_TRACKING_URI and that the server is running",
                    ) from error
                time.sleep(1)
        raise AssertionError("the last try returns or raises")

    @staticmethod
    def _experiment(client: MlflowClient, environment: Mapping[str, str]) -> str:
        given = environment.get("MLFLOW_EXPERIMENT_ID")
        name = environment.get("MLFLOW_EXPERIMENT_NAME", "Default")
        experiment = client.get_experiment_by_name(name) if not given else None
        if given:
            experiment = client.get_experiment(given)
        if experiment is None:
            experiment = client.get_experiment(client.create_experiment(name))
        if EXPERIMENT_KIND not in experiment.tags:  # so that the UI shows training runs first
            client.set_experiment_tag(
                experiment.experiment_id, EXPERIMENT_KIND, "custom_model_development"
            )
        return str(experiment.experiment_id)

    # --- reading

    def search(self, tags: Mapping[str, str], *experiments: str) -> Iterator[StoredRun]:
        """Yield the active runs that carry all these tags, oldest first.

        Of this experiment, where no others are given by their ids.
        """
        return reading.search(self._client, experiments or (self.experiment_id,), tags)

    def experiments(self) -> list[str]:
        """Return the ids of all active experiments."""
        return reading.experiments(self._client)

    def intact(self, groups: Sequence[Collection[str]]) -> list[bool]:
        """Return for each group of run ids whether all its runs are active and complete."""
        return reading.intact(self._client, self.experiment_id, groups)

    def find(self, key: str, *, adopt: bool = False) -> StoredRun | None:
        """Return the complete run of a unit of work, or None.

        With ``adopt``, the run handed over by ``mlflow run`` takes its place.
        """
        stored = next(self.search({Tag.KEY: key, Tag.STATE: COMPLETE}), None)
        if stored is None or not adopt or self._handed_over is None:
            return stored
        return stored_run(self._client.get_run(self._take_over(stored.id)))

    def run_of_model(self, uri: str) -> StoredRun:
        """Return the run that made a ``models:/…`` or ``runs:/…``."""
        return reading.run_of_model(self._client, uri)

    def find_part(self, tag: Tag, key: str) -> StoredRun | None:
        """Return a run that has logged the network or features with this key, or None."""
        return next(self.search({tag: key}), None)

    def artifact(self, run_id: str, name: str) -> Path:
        """Return a local file with an artifact's content.

        Raises
        ------
        UserError
            The artifact store does not give it.
        """
        from mlflow.artifacts import download_artifacts

        try:
            local = download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=self.uri)
        except (MlflowException, OSError) as error:
            raise UserError(
                f"artifact {name} of run {run_id} cannot be read: {error}",
                next_step="restore the artifact store, or compute it anew with force=true",
            ) from error
        return Path(local)

    def files(self, run_id: str) -> list[str]:
        """Return the names of the files that a run has logged, folders left out."""
        return [item.path for item in self._client.list_artifacts(run_id) if not item.is_dir]

    def has_artifact(self, run_id: str, name: str) -> bool:
        """Whether a run has an artifact of this name."""
        folder = name.rpartition("/")[0] or None
        return any(item.path == name for item in self._client.list_artifacts(run_id, folder))

    def download(self, uri: str) -> Path:
        """Return a local copy of a ``models:/…`` or ``runs:/…`` file or folder."""
        from mlflow.artifacts import download_artifacts

        try:
            return Path(download_artifacts(artifact_uri=uri, tracking_uri=self.uri))
        except (MlflowException, OSError) as error:
            raise UserError(
                f"{uri} cannot be read from {self.uri}: {error}",
                expected="models:/<name>@<alias>, models:/<name>/<version> or "
                "runs:/<run id>/<artifact>",
            ) from error

    # --- writing

    def open(
        self,
        unit: Unit,
        parent: str | None = None,
        *,
        adopt: bool = False,
        resumable: bool = True,
    ) -> Run:
        """Open the run of a unit of work for writing.

        A run with the same key that this machine started and no longer works on is continued; the
        caller finds in its tags which parts it already has. One that has no part is continued only
        if it is ``resumable``, the work being on disk, and else replaced: its curves would be
        logged twice. Otherwise a new one is made, or the one handed over by ``mlflow run`` is taken
        if ``adopt``.
        """
        tags = start_tags(unit, self._owner)
        if parent is not None:
            tags[MLFLOW_PARENT_RUN_ID] = parent
        run_id = self._abandoned(unit, resumable)
        if adopt and self._handed_over is not None:
            run_id = self._take_over(run_id)
        if run_id is None:
            created = self._client.create_run(self.experiment_id, tags=tags, run_name=unit.name)
            run_id = str(created.info.run_id)
            run = Run(self._client, run_id, unit, self._only_one)
        else:
            run = Run(self._client, run_id, unit, self._only_one)
            self._client.update_run(run_id, status="RUNNING", name=unit.name)
            if Tag.ERROR in self._client.get_run(run_id).data.tags:
                self._client.delete_tag(run_id, Tag.ERROR)  # of the attempt that is continued
            run.tags(tags)
        run.params({**unit.identity, **unit.params})
        return run

    def _abandoned(self, unit: Unit, resumable: bool) -> str | None:
        if unit.kind is Kind.ARM:  # belongs to no process, and grows: its folds come and go
            return next((run.id for run in self.search({Tag.KEY: unit.key})), None)
        for run in self.search({Tag.KEY: unit.key, Tag.STATE: STARTED}):
            if self._in_use(run):
                continue
            if resumable or Tag.NETWORK_KEY in run.tags:
                return run.id
            self._remove(run.id)
        return None

    def _in_use(self, run: StoredRun) -> bool:
        """Whether another process works on it; of other machines', only they know."""
        owner = run.tags.get(Tag.OWNER, "")
        host, _, process = owner.rpartition("/")
        if owner == self._owner:
            return False
        return host != socket.gethostname() or _alive(int(process))

    def _only_one(self, completed: Run) -> None:
        """Of several complete runs with one key (forced, or of two racing processes), keep one.

        The newest; every process that looks comes to the same one.
        """
        runs = list(self.search({Tag.KEY: completed.unit.key, Tag.STATE: COMPLETE}))
        kept = max(runs, key=lambda run: (run.start_time, run.id))
        for run in runs:
            if run.id != kept.id:
                self._discard(run.id, in_favour_of=kept.id)

    def _discard(self, run_id: str, in_favour_of: str) -> None:
        """Remove a run that only repeats another, to which all that refers to it is turned."""
        for reference in (MLFLOW_PARENT_RUN_ID, Tag.NETWORK_RUN, Tag.FEATURES_RUN, Tag.MODEL_RUN):
            for run in self.search({reference: run_id}):
                self._client.set_tag(run.id, reference, in_favour_of)
        self._remove(run_id)

    def _remove(self, run_id: str) -> None:
        self._client.set_terminated(run_id)
        self._client.delete_run(run_id)

    def _take_over(self, stored: str | None) -> str:
        """Return the run handed over by ``mlflow run``, after moving a stored run into it."""
        if self._handed_over is None:
            raise ValueError("no run was handed over")
        run_id, self._handed_over = self._handed_over, None
        if stored is None:
            return run_id
        other = stored_run(self._client.get_run(stored))
        if other.tags.get(Tag.STATE) == STARTED and self._in_use(other):
            note = f"Another process works on this: see run {stored}."
            self._client.set_tag(run_id, MLFLOW_RUN_NOTE, note)
            return stored
        move_run(self._client, stored, run_id)
        self._discard(stored, in_favour_of=run_id)
        return run_id

    def record_failure(self, error: BaseException) -> None:
        """Say in the run handed over by ``mlflow run`` why the command failed.

        A run that already holds a unit of work has said so itself.
        """
        if self._handed_over is None:
            return
        tags = self._client.get_run(self._handed_over).data.tags
        if Tag.KIND not in tags:
            text = str(error)
            self._client.set_tag(self._handed_over, Tag.ERROR, text[:LONGEST_TAG])
            self._client.set_tag(
                self._handed_over, MLFLOW_RUN_NOTE, f"Failed: {text}"[:LONGEST_TAG]
            )


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
