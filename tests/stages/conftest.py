from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from lesion_transfer.quiet import quiet_start
from lesion_transfer.stages.requests import StudyRequest
from lesion_transfer.tracking import COMPLETE, Kind, Tag

quiet_start()  # and no telemetry: the tests use no network

PROTOCOL = """
preparation: {size: 16}
backbone: {name: small_vgg}
pretrain: &training
  epochs: 2
  batch_size: 64
  optimizer: adamw
  learning_rate: 0.002
  dropout: 0.2
  augmentation: {flip: true, rotation: 360}
finetune: *training
svm: {C: [0.1, 10.0], shuffles: 2}
repeats: 1
"""


@dataclass(frozen=True)
class World:
    """A folder with a tracking database, artifacts, image stores and the tiny protocol."""

    folder: Path
    experiment: str
    patch: pytest.MonkeyPatch

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def enter(self, experiment: str) -> "World":
        """Go to another experiment, where nothing has been run."""
        self.patch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
        return World(self.folder, experiment, self.patch)

    def protocol(self, name: str = "tiny", change: Callable[[str], str] = lambda text: text) -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(change(PROTOCOL))
        return str(path)

    def options(self, **values: Any) -> dict[str, Any]:
        """What the requests of all tests share."""
        return {
            "cache": self.folder / "cache",
            "protocol": self.protocol(),
            "folds": "1x1,1x2",
        } | values

    def runs(self, kind: Kind | None = None, complete: bool = True, **tags: str) -> list[MlflowRun]:
        """Active runs of the experiment, oldest first."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            return []
        wanted = tags | ({Tag.KIND.value: kind.value} if kind else {})
        wanted |= {Tag.STATE.value: COMPLETE} if complete else {}
        runs = self.client.search_runs(
            [found.experiment_id], order_by=["attributes.start_time ASC"]
        )
        return [run for run in runs if wanted.items() <= run.data.tags.items()]

    def epochs_logged(self, run_id: str) -> int:
        return len(self.client.get_metric_history(run_id, "val_loss"))

    def artifact(self, run: MlflowRun | str, name: str) -> Path:
        run_id = run if isinstance(run, str) else run.info.run_id
        return Path(self.client.download_artifacts(run_id, name))


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def world(_folder: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """The surroundings of a module's stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{_folder}/mlflow.db")
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        yield World(_folder, request.module.__name__, patch).enter(request.module.__name__)


@pytest.fixture(scope="module")
def study_request(world: World) -> StudyRequest:
    """The study of models A, B, D and E that the tests read."""
    return StudyRequest(
        **world.options(
            designs="melanoma_vs_benign", models="A,B,D,E", out=world.folder / "comparison"
        )
    )


@pytest.fixture
def fresh(world, request: pytest.FixtureRequest):
    """An experiment of the test's own."""
    return world.enter(request.node.name)
