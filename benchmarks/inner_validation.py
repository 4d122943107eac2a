"""One recipe's AUC within a training half: what the values of `modern` were chosen by.

    python benchmarks/inner_validation.py [--half 1x1] [--size 128] [--change learning_rate=0.001 …]

The training half of a fold is divided into three: two thirds train and one scores, in turn; the
fold's test half is never looked at. Changes are made to the protocol's `finetune`, those of
`augmentation` with a dot. Prints the AUC of the SVM and of the network's softmax, of one view and
of four. `--frozen` is model D.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from lesion_transfer.quiet import quiet_start

quiet_start()

import pandas as pd  # noqa: E402
import yaml  # noqa: E402
from sklearn.model_selection import StratifiedGroupKFold  # noqa: E402

from lesion_transfer.data.adapters import open_dataset  # noqa: E402
from lesion_transfer.data.build import build_store  # noqa: E402
from lesion_transfer.data.designs import labels_for  # noqa: E402
from lesion_transfer.data.splits import five_by_two, fold_indices, holdout  # noqa: E402
from lesion_transfer.evaluation.metrics import auc  # noqa: E402
from lesion_transfer.evaluation.svm import fit_head  # noqa: E402
from lesion_transfer.models.keras_file import KerasFile  # noqa: E402
from lesion_transfer.models.views import viewed  # noqa: E402
from lesion_transfer.protocols import Training, load_protocol  # noqa: E402
from lesion_transfer.study import Design, parse_folds  # noqa: E402
from lesion_transfer.training.batches import Examples  # noqa: E402
from lesion_transfer.training.loop import Trainer  # noqa: E402
from lesion_transfer.training.predict import predict  # noqa: E402

SHARED = Path(os.environ.get("LT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
VIEWS = (1, 4)


def changed(training: Training, changes: list[str]) -> Training:
    values = training.model_dump()
    for change in changes:
        name, _, value = change.partition("=")
        part, _, inner = name.rpartition(".")
        (values[part] if part else values)[inner] = yaml.safe_load(value)
    return Training(**values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_root", default=str(SHARED / "data/isic2017"))
    parser.add_argument(
        "--backbone", type=Path, default=SHARED / "weights/efficientnet_lite0_imagenet.keras"
    )
    parser.add_argument("--half", default="1x1")
    parser.add_argument("--size", type=int, default=128)
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument("--frozen", action="store_true")
    recipe.add_argument("--change", action="append", default=[])
    given = parser.parse_args()
    began = time.monotonic()
    protocol = load_protocol("modern")
    preparation = protocol.preparation.model_copy(update={"size": given.size})
    network = KerasFile(given.backbone, None, "symmetric").build(given.size, imagenet=True, seed=0)
    weights = network.get_weights()
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(open_dataset("isic2017", given.data_root), preparation, Path(folder))
        rows, labels, classes = labels_for(Design.MELANOMA_VS_BENIGN, store.index)
        groups = store.index["group_id"].to_numpy(object)[rows]
        diagnoses = store.index["diagnosis"].to_numpy(object)[rows]
        parts = five_by_two(labels, groups.tolist(), protocol.seed, protocol.repeats, classes)
        half, _ = fold_indices(parts, parse_folds(given.half, protocol.repeats)[0])
        trainer = None
        if not given.frozen:
            trainer = Trainer(network, len(classes), changed(protocol.finetune, given.change))
        thirds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
        found = []
        for third, (inner, scored) in enumerate(thirds.split(half, diagnoses[half], groups[half])):
            inner, scored = half[inner], half[scored]
            if trainer is not None:
                share = trainer.spec.validation_share
                kept, held = holdout(labels[inner], groups[inner].tolist(), share, protocol.seed)
                examples, validation = (
                    Examples(store.images, rows[inner[part]], labels[inner[part]])
                    for part in (kept, held)
                )
                trainer.fit(weights, examples, validation, third, show)
            known, new = (
                [predict(viewed(network, n), store.images, rows[part]) for n in VIEWS]
                for part in (inner, scored)
            )
            aucs = {}
            for views, theirs, ours in zip(VIEWS, known, new, strict=True):
                head = fit_head(theirs, labels[inner], classes, protocol.svm, protocol.seed)
                aucs[f"SVM, {views} view(s)"] = auc(labels[scored], head.decision(ours))
                if trainer is not None:
                    kernel, bias = trainer.classifier.get_weights()
                    logits = ours @ kernel + bias
                    melanoma = logits[:, 1] - logits[:, 0]
                    aucs[f"softmax, {views} view(s)"] = auc(labels[scored], melanoma)
            found.append(aucs)
    table = pd.DataFrame(found, index=pd.Index([1, 2, 3], name="third"))
    table.loc["mean"] = table.mean()
    print((100 * table).round(1).to_string())
    what = "frozen" if given.frozen else ", ".join(given.change) or "as it is"
    print(f"half {given.half}, {given.size} px, {what}: {time.monotonic() - began:.0f} s")


def show(epoch: int, row: dict[str, float]) -> None:
    print(epoch, {name: round(value, 3) for name, value in row.items()}, flush=True)


if __name__ == "__main__":
    main()
