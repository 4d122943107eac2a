"""The results table from a tracking server on loopback: seconds and requests, by number of folds.

    python benchmarks/compare.py [--folds 1800 20000]

Fills an MLflow server (SQLite) with drawn studies: an arm and its ten folds are written by the
platform's own tracker, with the params, tags and metrics of real ones, and then copied in the
database. One arm in fifty lacks its last fold. The named alternative reads all folds page by page
with MlflowClient.search_runs; it is measured on the smallest size alone, as it takes minutes on the
others. Every mean in the tables is checked against the numbers written.
"""

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import requests

from lesion_transfer.quiet import quiet_start

quiet_start()

from mlflow import MlflowClient  # noqa: E402

from lesion_transfer.evaluation.metrics import fold_metrics  # noqa: E402
from lesion_transfer.protocols import load_protocol  # noqa: E402
from lesion_transfer.reporting.cells import ResultsTable  # noqa: E402
from lesion_transfer.reporting.table import results_tables  # noqa: E402
from lesion_transfer.stages.arms import FoldScore, fold_index, stored_arms  # noqa: E402
from lesion_transfer.stages.compare import arm_frame  # noqa: E402
from lesion_transfer.stages.one_a_cell import one_a_cell  # noqa: E402
from lesion_transfer.study import LESION_DESIGNS, MODELS, all_folds  # noqa: E402
from lesion_transfer.tracking import COMPLETE, Kind, Tag, Tracker, Unit, flat  # noqa: E402

FOLDS = [str(fold) for fold in all_folds(5)]
CELLS = [(design.value, model) for design in LESION_DESIGNS for model in MODELS]
INCOMPLETE = 50  # one arm in so many
OWNER = dict.fromkeys(("runs", "tags", "params", "latest_metrics"), "run_uuid") | {
    "inputs": "destination_id"
}
"""The tables that hold a run, and their column with its id."""


def write_one_arm(tracker: Tracker) -> dict[str, str]:
    """Log an arm and its folds as a study does; return the ids of the runs by fold, and ``arm``."""
    rng = np.random.default_rng(0)
    protocol = load_protocol("modern", {}, "")
    identity = {
        **{"dataset": "isic2017", "design": "melanoma_vs_benign", "model": "E"},
        **{"source": "imagenet", "finetune": "true", "backbone": "vgg_m", "protocol": "modern"},
        **{"image_size": "224", "seed": "0"},
    }
    shared = {
        "params": flat(protocol.finetune.model_dump(), "finetune")
        | flat(protocol.svm.model_dump(), "svm"),
        "tags": {Tag.ARM: "arm", Tag.FOLDS_EXPECTED: "10", Tag.DATA_DIGEST: "d" * 64},
    }
    ids, metrics = {}, {}
    for name in FOLDS:
        labels = np.arange(400) % 3 % 2
        decision = labels + rng.normal(size=400)
        positive = 1 / (1 + np.exp(-decision))
        metrics = fold_metrics(
            labels, decision, np.stack([1 - positive, positive], 1), ("benign", "melanoma"), 0.5
        )
        place = {"fold": name, "repeat": name[0], "half": name[2]}
        unit = Unit(Kind.FOLD, f"fold {name}", name, "A fold.", identity | place, **shared)
        with tracker.open(unit) as run:
            run.metrics(metrics | {"C": 1, "threshold": 0.5, "seconds": 60, "peak_memory_mb": 900})
            run.metrics({"train_loss": 1, "val_loss": 1, "val_auc": 1, "learning_rate": 1}, step=30)
            run.complete()
        ids[name] = run.id
    unit = Unit(Kind.ARM, "arm", "E", "An arm.", identity, **shared)
    with tracker.open(unit) as run:
        run.metrics({f"{name}_{what}": 1 for name in metrics for what in ("mean", "sd")})
        run.tags({Tag.FOLDS: "[]"})
        frame = pd.DataFrame({"image_id": ["a"], "group_id": ["a"], "diagnosis": ["nevus"]})
        run.dataset(frame, "isic2017", "d" * 16, "somewhere")
        run.complete()
    return ids | {"arm": run.id}


def copies(
    database: sqlite3.Connection, experiment: str, written: dict[str, str], count: int
) -> dict[tuple[str, ...], float]:
    """Copy the arm ``count`` times into an experiment; return each cell's mean AUC."""
    rng, means = np.random.default_rng(1), {}
    tables = {
        name: [row[1] for row in database.execute(f"pragma table_info({name})")] for name in OWNER
    }
    rows = {
        (table, run): [
            dict(zip(columns, row, strict=True))
            for row in database.execute(
                f"select * from {table} where {OWNER[table]} = ?", (run_id,)
            )
        ]
        for table, columns in tables.items()
        for run, run_id in written.items()
    }
    inserted: dict[str, list[dict[str, Any]]] = {table: [] for table in tables}
    for number in range(count):
        design, model = CELLS[number % len(CELLS)]
        complete = number % INCOMPLETE < INCOMPLETE - 1
        here = {
            **{"design": design, "model": model, "protocol": f"protocol {number // len(CELLS)}"},
            **{"source": str(MODELS[model].source), Tag.ARM: f"{experiment} arm {number}"},
        }
        ids = {name: uuid.uuid4().hex for name in written}
        scores = dict(zip(FOLDS if complete else FOLDS[:-1], rng.random(10), strict=False))
        means[design, model, here["protocol"]] = float(np.mean([*scores.values()]))
        index = fold_index(FoldScore(ids[name], name, auc, 0, "") for name, auc in scores.items())
        for name in ("arm", *scores):
            changed = here | {
                Tag.KEY: here[Tag.ARM] if name == "arm" else uuid.uuid4().hex,
                Tag.STATE: COMPLETE if complete or name != "arm" else "started",
                Tag.FOLDS: index,
                "mlflow.parentRunId": ids["arm"],
                "auc": scores.get(name),
            }
            for table in tables:
                for row in rows[table, name]:
                    new = row | {OWNER[table]: ids[name]}
                    if table == "runs":
                        new["experiment_id"] = int(experiment)
                    elif table == "inputs":
                        new["input_uuid"] = uuid.uuid4().hex
                    elif row["key"] in changed:
                        new["value"] = changed[row["key"]]
                    inserted[table].append(new)
    for table, columns in tables.items():
        holes = ", ".join(f":{column}" for column in columns)
        database.executemany(
            f"insert into {table} ({', '.join(columns)}) values ({holes})", inserted[table]
        )
    database.commit()
    return means


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run MLflow's server over the folder's database, and give its address and process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with suppress(requests.ConnectionError):
                requests.get(f"{uri}/health", timeout=5)
                break
            time.sleep(0.1)
        settle(psutil.Process(process.pid))
        yield uri, psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # its workers too: the group is this server's own
        process.wait()


@contextmanager
def counted_requests() -> Iterator[list[str]]:
    """Collect the address of every request that the block sends."""
    sent: list[str] = []
    send = requests.Session.send

    def counting(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        sent.append(request.url)
        return send(session, request, **options)

    requests.Session.send = counting
    try:
        yield sent
    finally:
        requests.Session.send = send


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time so far of this process and of another with all its children."""
    family = [process, *process.children(recursive=True)]
    return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in family)


def settle(server: psutil.Process) -> None:
    """Wait until the server has nothing to do: its helpers start after its first answer."""
    for _ in range(60):
        before = cpu_seconds(server)
        time.sleep(2)
        if cpu_seconds(server) - before < 0.1:
            return


def measured(work: Callable[[], Any], server: psutil.Process) -> tuple[Any, float, str]:
    """Return what ``work`` gives, its seconds, and a line on what it takes.

    On a busy machine, the processor's seconds say more than the clock's.
    """
    with counted_requests() as sent:
        cpu, began = cpu_seconds(server), time.perf_counter()
        result = work()
        seconds, cpu = time.perf_counter() - began, cpu_seconds(server) - cpu
    return result, seconds, f"{seconds:6.2f} s, {cpu:6.2f} s of processor, {len(sent):4} requests"


def table(tracker: Tracker) -> tuple[ResultsTable, ...]:
    """Build the tables of everything in the experiment, as ``compare`` does."""
    shown, _ = one_a_cell(stored_arms(tracker, {}))
    return results_tables(arm_frame(shown))


def all_folds_read(uri: str, experiment: str) -> int:
    """Read every complete fold, and return how many there are."""
    client, found, token = MlflowClient(uri), 0, None
    condition = f"tags.`{Tag.KIND}` = 'fold' and tags.`{Tag.STATE}` = 'complete'"
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        found, token = found + len(page), page.token
        if not token:
            return found


def check(tables: tuple[ResultsTable, ...], means: dict[tuple[str, ...], float]) -> None:
    """Stop unless the tables hold what was written."""
    ours = {
        (design, model, each.protocol): cell.mean
        for each in tables
        for (design, model), cell in each.cells.items()
        if cell.n_folds
    }
    if ours.keys() != means.keys() or not all(np.isclose(ours[k], means[k]) for k in means):
        raise SystemExit("the tables are not what was written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, nargs="+", default=[1800, 20000])
    sizes = sorted(parser.parse_args().folds)
    with tempfile.TemporaryDirectory() as name, closing(sqlite3.connect(f"{name}/mlflow.db")) as db:
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{name}/mlflow.db"}
        os.chdir(name)
        written = write_one_arm(Tracker(store | {"MLFLOW_EXPERIMENT_NAME": "template"}))
        expected = {}
        began = time.perf_counter()
        for size in sizes:
            experiment = Tracker(store | {"MLFLOW_EXPERIMENT_NAME": f"{size}"}).experiment_id
            expected[size] = copies(db, experiment, written, -(-size // len(FOLDS)))
        print(f"filled in {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f}")
        with server(Path(name)) as (uri, process):
            for size in sizes:
                there = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": f"{size}"}
                tracker = Tracker(there)
                tracker.find("nothing")  # a server's first answer takes its imports
                tables, seconds, took = measured(lambda: table(tracker), process)  # noqa: B023
                check(tables, expected[size])
                print(f"{size:6} folds: {took}, {len(tables)} tables", flush=True)
                if size == sizes[0]:
                    found, slow, took = measured(
                        lambda: all_folds_read(uri, tracker.experiment_id),  # noqa: B023
                        process,
                    )
                    print(
                        f"{found:6} folds: {took} with search_runs alone; the table takes "
                        f"{seconds / slow:.0%} of that"
                    )


if __name__ == "__main__":
    main()
