from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from tracked import artifact_folder, stored_runs, unit

from lesion_transfer.tracking import Kind, Tag, Tracker
from lesion_transfer.tracking.schema import SYSTEM_PREFIX

# --- a run's life --------------------------------------------------------------------------------


def test_a_complete_run_is_found_with_all_it_was_given(tracker: Tracker, tmp_path: Path):
    given = unit(identity={"design": "native", "fold": "1x1"}, params={"svm.C": "1"})
    with tracker.open(given) as run:
        assert tracker.find("k") is None
        run.metrics({"auc": 0.75})
        run.text("hello", "folder/note.txt")
        run.complete()
    found = tracker.find("k")
    assert found is not None
    assert found.id == run.id
    assert found.metrics["auc"] == 0.75
    assert found.params == {"design": "native", "fold": "1x1", "svm.C": "1"}
    assert found.tags["design"] == "native"
    assert found.tags[Tag.KIND] == "features"
    assert found.tags["mlflow.runName"] == "run k"
    assert found.tags["mlflow.note.content"] == "what it is"
    assert tracker.artifact(run.id, "folder/note.txt").read_text() == "hello"
    assert tracker.has_artifact(run.id, "folder/note.txt")
    assert not tracker.has_artifact(run.id, "note.txt")


def test_only_complete_runs_are_found(tracker: Tracker, client: MlflowClient):
    with tracker.open(unit()) as run:
        run.text("x", "x.txt")
    assert client.get_run(run.id).info.status == "FINISHED"
    assert client.get_run(run.id).data.tags[Tag.STATE] == "started"
    assert tracker.find("k") is None
    assert tracker.find("other") is None


def test_an_error_fails_the_run_and_says_why(tracker: Tracker, client: MlflowClient):
    run = tracker.open(unit())
    with pytest.raises(ZeroDivisionError), run:  # noqa: PT012
        run.metrics({"before": 1})
        _ = 1 / 0
    stored = client.get_run(run.id)
    assert stored.info.status == "FAILED"
    assert stored.data.tags[Tag.ERROR] == "ZeroDivisionError: division by zero"
    assert stored.data.metrics["before"] == 1
    assert tracker.find("k") is None


def test_an_endless_error_still_ends_the_run(tracker: Tracker, client: MlflowClient):
    with pytest.raises(ValueError, match="x"), tracker.open(unit()) as run:
        raise ValueError("x" * 20_000)
    assert client.get_run(run.id).info.status == "FAILED"
    assert client.get_run(run.id).data.tags[Tag.ERROR].startswith("ValueError: xxx")


def test_an_interrupted_run_is_killed(tracker: Tracker, client: MlflowClient):
    with pytest.raises(KeyboardInterrupt), tracker.open(unit()) as run:
        raise KeyboardInterrupt
    assert client.get_run(run.id).info.status == "KILLED"


def test_a_child_knows_its_parent(tracker: Tracker):
    with tracker.open(unit("p", Kind.ARM)) as parent, tracker.open(unit("c"), parent.id) as child:
        child.complete()
    assert tracker.find("c").tags["mlflow.parentRunId"] == parent.id


# --- nothing that cannot be read is complete -----------------------------------------------------


@pytest.mark.parametrize("name", ["table.csv", "deep/er/table.csv"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_artifact_keeps_the_run_from_being_complete(
    tracker: Tracker, client: MlflowClient, name: str, damage: str
):
    run = tracker.open(unit())
    with pytest.raises(OSError, match=f"artifact {name} of run") as raised, run:  # noqa: PT012
        run.text("fine", "other.txt")
        run.table(pd.DataFrame({"a": [1, 2, 3]}), name)
        path = artifact_folder(client, run.id) / name
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-2])
        run.complete()
    assert "were written" in str(raised.value)
    assert tracker.find("k") is None
    assert client.get_run(run.id).info.status == "FAILED"


def test_an_artifact_written_again_counts_as_it_is_now(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.text("long text", "a.txt")
        run.text("short", "a.txt")
        run.complete()
    assert tracker.artifact(run.id, "a.txt").read_text() == "short"


def test_tables_and_figures_come_back(tracker: Tracker):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.5, None]})
    figure = Figure()
    figure.add_subplot()
    with tracker.open(unit()) as run:
        run.table(frame, "t.parquet")
        run.table(frame, "t.csv")
        run.figure(figure, "plots/f.png")
        run.dataset(frame, "data", "digest", "somewhere")
        run.complete()
    parquet = pq.read_table(tracker.artifact(run.id, "t.parquet")).to_pandas()
    pd.testing.assert_frame_equal(parquet, frame)
    pd.testing.assert_frame_equal(pd.read_csv(tracker.artifact(run.id, "t.csv")), frame)
    assert tracker.artifact(run.id, "plots/f.png").read_bytes().startswith(b"\x89PNG")


def test_a_download_gives_files_and_folders(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.text("hello", "model/note.txt")
    assert tracker.download(f"runs:/{run.id}/model/note.txt").read_text() == "hello"
    assert (tracker.download(f"runs:/{run.id}/model") / "note.txt").read_text() == "hello"


# --- metrics and params --------------------------------------------------------------------------


def test_no_metric_is_lost_among_thousands(tracker: Tracker, client: MlflowClient):
    with tracker.open(unit()) as run:
        for step in range(1, 1501):
            run.metrics({"loss": step / 2, "auc": step}, step=step)
        run.complete()
    for name, factor in (("loss", 0.5), ("auc", 1)):
        history = client.get_metric_history(run.id, name)
        assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
            (step, step * factor) for step in range(1, 1501)
        ]
    assert tracker.find("k").metrics["auc"] == 1500


def test_complete_flushes_first(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.metrics({"auc": 1})
        run.complete()
        assert tracker.find("k").metrics == {"auc": 1}


def test_hundreds_of_long_params_are_logged(tracker: Tracker):
    values = {f"p{number}": str(number) for number in range(250)} | {"long": "x" * 7000}
    with tracker.open(unit(params=values)) as run:
        run.complete()
    found = tracker.find("k").params
    assert found.pop("long") == "x" * 6000
    assert found == {name: value for name, value in values.items() if name != "long"}


def test_a_param_keeps_its_first_value(tracker: Tracker):
    with tracker.open(unit(params={"a": "1"})) as run:
        run.params({"a": "2", "b": "3"})
        run.complete()
    assert tracker.find("k").params == {"a": "1", "b": "3"}


def test_tags_of_the_system_have_its_prefix():
    assert all(tag.value.startswith(SYSTEM_PREFIX) for tag in Tag)
    assert len({tag.value for tag in Tag}) == len(Tag)


# --- searching -----------------------------------------------------------------------------------


def test_a_search_gives_every_page_oldest_first(tracker: Tracker, monkeypatch):
    monkeypatch.setattr("lesion_transfer.tracking.reading.PAGE", 2)
    ids = []
    for number in range(5):
        with tracker.open(unit(f"k{number}", identity={"a": "yes"})) as run:
            ids.append(run.id)
    with tracker.open(unit("other", identity={"a": "no"})):
        pass
    assert [run.id for run in tracker.search({"a": "yes"})] == ids
    assert list(tracker.search({"a": "yes", Tag.KEY: "k3"}))[0].id == ids[3]  # noqa: RUF015


def test_a_search_for_text_with_a_quote_finds_nothing_or_that_text(tracker: Tracker):
    with tracker.open(unit(identity={"dataset": "it's"})) as run:
        pass
    assert [found.id for found in tracker.search({"dataset": "it's"})] == [run.id]


def test_a_part_is_found_while_its_run_goes_on(tracker: Tracker):
    with tracker.open(unit()) as run:
        assert tracker.find_part(Tag.NETWORK_KEY, "n") is None
        run.tags({Tag.NETWORK_KEY: "n"})
        assert tracker.find_part(Tag.NETWORK_KEY, "n").id == run.id
        assert tracker.find_part(Tag.FEATURES_KEY, "n") is None


def test_experiments_do_not_see_each_other(tracker: Tracker, environment: dict[str, str]):
    with tracker.open(unit()) as run:
        run.complete()
    other = Tracker(environment | {"MLFLOW_EXPERIMENT_NAME": "another"})
    assert other.find("k") is None
    same = Tracker(environment | {"MLFLOW_EXPERIMENT_ID": tracker.experiment_id})
    assert same.find("k").id == run.id


def test_two_trackers_have_their_own_servers(tmp_path: Path, environment: dict[str, str], tracker):
    with tracker.open(unit()) as run:
        run.complete()
    other = Tracker(environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"})
    assert other.find("k") is None
    assert tracker.find("k").id == run.id


# --- one run per key -----------------------------------------------------------------------------


def test_of_several_complete_runs_of_a_key_the_newest_remains(
    tracker: Tracker, client: MlflowClient
):
    ids = []
    for _ in range(3):
        with tracker.open(unit()) as run:
            run.complete()
        ids.append(run.id)
    with tracker.open(unit("bystander")) as bystander:
        bystander.complete()
    assert len(set(ids)) == 3
    assert tracker.find("k").id == ids[-1]
    assert {r.info.run_id for r in stored_runs(tracker, client)} == {ids[-1], bystander.id}


def test_two_processes_that_complete_one_key_at_once_both_end_well(
    tracker: Tracker, client: MlflowClient
):
    one = tracker.open(unit())
    one.tags({Tag.OWNER: "another-machine/1"})
    two = tracker.open(unit())
    assert one.id != two.id
    with one, two:
        one.complete()
        two.complete()
    assert tracker.find("k") is not None
    assert len(stored_runs(tracker, client)) == 1


def test_a_failed_second_try_leaves_the_first_result(tracker: Tracker):
    with tracker.open(unit()) as first:
        first.complete()
    with pytest.raises(RuntimeError), tracker.open(unit()):
        raise RuntimeError
    assert tracker.find("k").id == first.id
