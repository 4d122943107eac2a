"""What a kill leaves, and what is then not done again."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lesion_transfer.stages import extract as stages_extract
from lesion_transfer.stages import finetune as stages_finetune
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest, StudyRequest
from lesion_transfer.stages.study import study
from lesion_transfer.tracking import Kind, Tag
from lesion_transfer.training.checkpoint import Checkpoint
from lesion_transfer.training.loop import Trainer


@pytest.mark.slow
def test_a_training_is_not_done_again_where_a_fold_is_killed_after_it(
    fresh, monkeypatch: pytest.MonkeyPatch
):
    """The network is safe in the checkpoint until it is logged."""

    def killed(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    options = fresh.options(source="none", folds="1x1", seed=11)  # no source to train first
    saved = partial(Checkpoint, every_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(stages_finetune, "Checkpoint", saved)
        patch.setattr(stages_extract, "write_features", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(EvaluateRequest(**options))
    (fold,) = fresh.runs(Kind.FOLD, complete=False)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", killed)  # no epoch is trained
        (done,) = evaluate(EvaluateRequest(**options)).folds
    assert done.run_id == fold.info.run_id
    assert fresh.epochs_logged(done.run_id) == 2
    fresh.enter(f"{fresh.experiment} at once")
    straight = evaluate(EvaluateRequest(**options))
    assert done.auc == straight.folds[0].auc
    assert not list((fresh.folder / "cache" / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_fold_killed_within_its_training_goes_on_there(fresh, monkeypatch: pytest.MonkeyPatch):
    options = fresh.options(source="none", folds="1x1", seed=12)
    trained: list[int] = []

    def epoch(self: Trainer, number: int, *given: Any) -> dict[str, float]:
        if number == 2 and not trained.count(2):
            trained.append(2)
            raise KeyboardInterrupt
        trained.append(number)
        return original(self, number, *given)

    original = Trainer._epoch
    with monkeypatch.context() as patch:
        patch.setattr(stages_finetune, "Checkpoint", partial(Checkpoint, every_seconds=0))
        patch.setattr(Trainer, "_epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            evaluate(EvaluateRequest(**options))
        (done,) = evaluate(EvaluateRequest(**options)).folds
    assert trained == [1, 2, 2]
    assert fresh.epochs_logged(done.run_id) == 2
    fresh.enter(f"{fresh.experiment} at once")
    assert done.auc == evaluate(EvaluateRequest(**options)).folds[0].auc


RUN = """
import sys
from pathlib import Path
from lesion_transfer.quiet import quiet_start
quiet_start()
from lesion_transfer.stages.requests import StudyRequest
from lesion_transfer.stages.study import study
study(StudyRequest.model_validate_json(sys.stdin.read()))
"""


def wait_for(database: Path, tags: dict[str, str], process: subprocess.Popen) -> None:
    """Wait until the database has a run with all these tags."""
    one = "select run_uuid from tags where key = ? and value = ?"
    query = " intersect ".join([one] * len(tags))
    values = [text for pair in tags.items() for text in pair]
    for _ in range(6000):
        # Of a new store, the file is there before its tables are.
        with (
            suppress(sqlite3.OperationalError),
            sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection,
        ):
            if connection.execute(query, values).fetchone():
                return
        assert process.poll() is None, "the study has ended before it could be killed"
        time.sleep(0.01)
    raise TimeoutError(str(tags))


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_with_the_same_table(world, tmp_path: Path):
    def request(out: str) -> StudyRequest:
        return StudyRequest(
            **world.options(designs="melanoma_vs_benign", models="A,B", out=tmp_path / out, seed=3)
        )

    def table(out: str) -> tuple[str, pd.DataFrame]:
        folds = pd.read_csv(tmp_path / out / "folds.csv").drop(columns="run_id")
        text = (tmp_path / out / "results.md").read_text()
        return re.sub(r"[0-9a-f]{32}", "run", text), folds

    killed = world.enter("killed")
    killed_at = (
        ({Tag.KIND: "source"}, 0.5),
        ({Tag.KIND: "fold", "model": "A", "fold": "1x2"}, 0.3),
        ({Tag.KIND: "fold", "model": "B", "fold": "1x1"}, 0.0),
    )
    for tags, delay in killed_at:  # seed 3 is this test's alone
        process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE)
        process.stdin.write(request("killed").model_dump_json().encode())
        process.stdin.close()
        try:
            wait_for(world.folder / "mlflow.db", {"seed": "3"} | tags, process)
            time.sleep(delay)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert not list((tmp_path / "killed").iterdir())
    study(request("killed"))
    whole = world.enter("uninterrupted")
    study(request("whole"))

    text, folds = table("killed")
    expected_text, expected_folds = table("whole")
    assert text == expected_text
    pd.testing.assert_frame_equal(folds, expected_folds, check_exact=True)

    def keys(of) -> list[str]:
        kinds = (Kind.DATASET, Kind.SOURCE, Kind.FEATURES, Kind.ARM, Kind.FOLD)
        return sorted(run.data.tags[Tag.KEY] for kind in kinds for run in of.runs(kind))

    assert keys(killed) == keys(whole)
    assert len(killed.runs(complete=False)) == len(killed.runs()) == len(whole.runs())
