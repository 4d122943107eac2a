"""Every entry point, through ``mlflow run`` itself, as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lesion_transfer.stages.requests import ENTRY_POINTS

REPOSITORY = Path(__file__).parents[1]
TINY = """
preparation: {size: 16}
backbone: {name: small_vgg}
pretrain: &training
  {epochs: 1, batch_size: 32, optimizer: sgd, learning_rate: 0.01, validation_share: 0.2}
finetune: *training
svm: {C: [0.1, 1.0], shuffles: 2}
"""

pytestmark = pytest.mark.slow


class Project:
    """The project, a tracking store and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.protocol = folder / "tiny.yaml"
        self.protocol.write_text(TINY)
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(self.uri)
        artifacts = (folder / "artifacts").as_uri()
        self.experiment = self.client.create_experiment("test", artifact_location=artifacts)

    def run(self, entry: str, **parameters: object) -> subprocess.CompletedProcess[str]:
        given = {"cache": self.folder / "cache"}
        if entry != "compare":
            given["protocol"] = self.protocol
        pairs = [f"{name}={value}" for name, value in (given | parameters).items()]
        command = [sys.executable, "-m", "mlflow", "run", str(REPOSITORY), "-e", entry]
        command += ["--env-manager", "local", *(word for pair in pairs for word in ("-P", pair))]
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_NAME": "test",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    def runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment], max_results=1000))

    def kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for run in self.runs():
            kind = run.data.tags.get("lt.kind", "an empty run")
            found[kind] = found.get(kind, 0) + 1
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


# The tests below share a store and go from the first stage to the last, as a user would.


def test_preprocess_takes_over_the_run_of_mlflow(project: Project):
    done = project.run("preprocess")
    assert done.returncode == 0, done.stderr
    assert "400 images of 16 px" in done.stdout
    assert project.kinds() == {"dataset": 1}


def test_pretrain_leaves_one_source_run(project: Project):
    done = project.run("pretrain", source="retinopathy")
    assert done.returncode == 0, done.stderr
    assert project.kinds() == {"dataset": 2, "source": 1}


def test_finetune_makes_an_arm_with_its_folds(project: Project):
    done = project.run("finetune", source="retinopathy", folds="1x1")
    assert done.returncode == 0, done.stderr
    assert project.kinds() == {"dataset": 2, "source": 1, "arm": 1, "fold": 1}


def test_extract_continues_the_same_fold(project: Project):
    done = project.run("extract", source="retinopathy", folds="1x1")
    assert done.returncode == 0, done.stderr
    assert project.kinds() == {"dataset": 2, "source": 1, "arm": 1, "fold": 1}


def test_evaluate_completes_it_and_says_the_auc(project: Project):
    done = project.run("evaluate", source="retinopathy", folds="1x1")
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout
    assert project.kinds() == {"dataset": 2, "source": 1, "arm": 1, "fold": 1}
    (fold,) = (run for run in project.runs() if run.data.tags["lt.kind"] == "fold")
    assert fold.data.tags["lt.state"] == "complete"
    assert fold.data.tags["mlflow.parentRunId"] in {run.info.run_id for run in project.runs()}


def test_the_same_command_again_adds_no_run(project: Project):
    before = project.kinds()
    done = project.run("evaluate", source="retinopathy", folds="1x1")
    assert done.returncode == 0, done.stderr
    assert "1 from earlier runs" in done.stdout
    assert project.kinds() == before
    parents = {run.data.tags.get("mlflow.parentRunId") for run in project.runs()} - {None}
    (arm,) = (run for run in project.runs() if run.data.tags["lt.kind"] == "arm")
    assert parents == {arm.info.run_id}


def test_compare_writes_the_table_and_logs_it(project: Project):
    out = project.folder / "comparison"
    done = project.run("compare", out=out)
    assert done.returncode == 0, done.stderr
    assert "retinopathy" in done.stdout
    assert {path.name for path in out.iterdir()} >= {
        "results.md",
        "results.csv",
        "results.html",
        "results_1.png",
    }
    assert project.kinds()["comparison"] == 1


def test_main_runs_a_study_and_uses_what_is_there(project: Project):
    done = project.run(
        "main",
        models="C",
        designs="melanoma_vs_benign",
        folds="1x1,1x2",
        out=project.folder / "main",
    )
    assert done.returncode == 0, done.stderr
    assert project.kinds() == {"dataset": 2, "source": 1, "arm": 1, "fold": 2, "comparison": 2}


def test_a_wrong_parameter_fails_clearly_and_its_run_says_why(project: Project):
    before = {run.info.run_id for run in project.runs()}
    done = project.run("evaluate", source="imagenet+imagenet")
    assert done.returncode != 0
    assert "is not a chain of sources" in done.stderr
    assert "Traceback" not in done.stderr
    (failed,) = (run for run in project.runs() if run.info.run_id not in before)
    assert failed.info.status == "FAILED"
    assert "is not a chain of sources" in failed.data.tags["lt.error"]


def test_every_entry_point_is_tested_here():
    source = Path(__file__).read_text()
    assert all(f'project.run("{name}"' in source or f'"{name}",' in source for name in ENTRY_POINTS)
