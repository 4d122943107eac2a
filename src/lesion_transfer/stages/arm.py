"""An arm made concrete: its data, labels, splits, source, and the key of every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from keras.config import backend

from lesion_transfer.data.published_folds import PublishedFolds
from lesion_transfer.data.splits import Partition, five_by_two, fold_indices, holdout
from lesion_transfer.data.store import ImageStore
from lesion_transfer.models.backbones import Backbone
from lesion_transfer.protocols import Extraction, Protocol, Training, starting_from
from lesion_transfer.stages.pretrain import SourceNetwork
from lesion_transfer.stages.seen import Seen
from lesion_transfer.study import SCHEMA_VERSION, Arm, Fold, digest
from lesion_transfer.tracking import Kind, Tag, Unit, flat

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldRows:
    """Positions among the arm's images: ``kept`` + ``validation`` are the training half."""

    train: Rows
    test: Rows
    kept: Rows
    validation: Rows


@dataclass(frozen=True)
class PlannedArm:
    """Everything that the folds of an arm share.

    Attributes
    ----------
    rows, labels
        The design's images in the store, and their classes.
    folds
        The folds asked for.
    published
        Where the partitions come from a file.
    looking
        Test images of each fold that a figure shows.
    """

    arm: Arm
    protocol: Protocol
    backbone: Backbone
    source: SourceNetwork
    store: ImageStore
    rows: Rows
    labels: Rows
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    published: PublishedFolds | None = None
    looking: int = 0

    @property
    def training(self) -> Training:
        """The protocol's fine-tuning, as it is done from this source."""
        return starting_from(self.protocol.finetune, random=self.source.random)

    @cached_property
    def groups(self) -> npt.NDArray[np.object_]:
        """What must never be split, one per image of the design."""
        return self.store.index["group_id"].to_numpy(object)[self.rows]

    @cached_property
    def ids(self) -> npt.NDArray[np.object_]:
        """Image ids, one per image of the design."""
        return self.store.index["image_id"].to_numpy(object)[self.rows]

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions of the protocol's repeats, or those of the file of folds."""
        if self.published is not None:
            return self.published.partitions(self.ids.tolist())
        return five_by_two(
            self.labels,
            self.groups.tolist(),
            self.protocol.seed,
            self.protocol.repeats,
            self.classes,
        )

    def fold_rows(self, fold: Fold) -> FoldRows:
        """Split a fold's images; the validation part comes from the training half alone."""
        train, test = fold_indices(self.partitions, fold)
        kept, validation = holdout(
            self.labels[train],
            self.groups[train].tolist(),
            self.protocol.finetune.validation_share,
            self.protocol.seed,
        )
        return FoldRows(train, test, train[kept], train[validation])

    # --- keys: each step's holds just what decides that step's result

    @property
    def _data(self) -> tuple[str, ...]:
        published = () if self.published is None else (self.published.identity,)
        return self.store.digest, self.arm.design, *published

    @property
    def _extraction(self) -> tuple[Extraction, ...]:
        """Nothing where it is the plain one: keys from before there was another stay valid."""
        extraction = self.protocol.extraction
        return () if extraction == Extraction() else (extraction,)

    def network_key(self, fold: Fold) -> str:
        """Key of the network that gives the features."""
        if not self.arm.model.finetune:
            return self.source.key
        return digest(
            SCHEMA_VERSION,
            "network",
            backend(),
            self.source.key,
            *self._data,
            fold,
            self.training,
            self.protocol.seed,
        )

    def features_key(self, fold: Fold) -> str:
        """Key of the features; a frozen network's are the same for all folds and designs."""
        return digest(
            SCHEMA_VERSION,
            "features",
            self.network_key(fold),
            self.store.digest,
            *self._extraction,
        )

    def fold_key(self, fold: Fold) -> str:
        """Key of the fold's evaluation; holds the arm's names, so that each arm has its runs."""
        return digest(
            SCHEMA_VERSION,
            "fold",
            self.arm,
            self.features_key(fold),
            *self._data,
            fold,
            self.protocol.svm,
            self.protocol.seed,
        )

    @property
    def arm_key(self) -> str:
        """Key of the arm: of all its folds, whichever and however many are asked for."""
        return digest(
            SCHEMA_VERSION,
            "arm",
            self.arm,
            *self._data,
            self.source.key,
            self.training if self.arm.model.finetune else None,
            *self._extraction,
            self.protocol.svm,
        )

    # --- how the runs show it

    @property
    def identity(self) -> dict[str, str]:
        """The flat names that tags, params and filters use."""
        arm = self.arm
        return {
            "dataset": arm.dataset,
            "design": arm.design.value,
            "model": arm.model.letter,
            "source": str(arm.model.source),
            "finetune": str(arm.model.finetune).lower(),
            "backbone": arm.backbone,
            "protocol": arm.protocol,
            "image_size": str(arm.image_size),
            "seed": str(arm.seed),
        }

    @property
    def tags(self) -> dict[str, str]:
        """What readers need beside the identity, of the arm's run and of each fold's."""
        tags = (Seen(data=(self.store.digest,)) | self.source.seen).tags | {
            Tag.ARM: self.arm_key,
            Tag.FOLDS_EXPECTED: str(2 * self.protocol.repeats),
            Tag.DATA_DIGEST: self.store.digest,
        }
        if self.source.stand_in:
            tags[Tag.STAND_IN] = self.source.stand_in
        return tags

    def unit(self) -> Unit:
        """Describe the arm's run."""
        arm = self.arm
        tuned = "fine-tuned on each training half" if arm.model.finetune else "frozen"
        note = f"\n\n**Note:** {self.source.stand_in}." if self.source.stand_in else ""
        return Unit(
            kind=Kind.ARM,
            key=self.arm_key,
            name=f"{arm.model.letter} · {arm.design.short} · {arm.dataset}",
            description=f"{arm.backbone} at {arm.image_size} px from source {arm.model.source}, "
            f"{tuned}; {self.protocol.svm.title}. Mean and spread over "
            f"{self.protocol.repeats}×2 folds.{note}",
            identity=self.identity,
            params=self._params(),
            tags=self.tags,
        )

    def fold_unit(self, fold: Fold) -> Unit:
        """Describe a fold's run."""
        arm = self.arm
        return Unit(
            kind=Kind.FOLD,
            key=self.fold_key(fold),
            name=f"{arm.model.letter} · {arm.design.short} · {fold}",
            description=f"{arm}: repeat {fold.repeat}, trained on half {fold.half} and tested on "
            "the other.",
            identity=self.identity
            | {"fold": str(fold), "repeat": str(fold.repeat), "half": str(fold.half)},
            params=self._params(),
            tags=self.tags,
        )

    def _params(self) -> dict[str, str]:
        protocol = self.protocol
        training = flat(self.training.model_dump(), "finetune")
        file = {} if self.published is None else {"folds_file": self.published.path.name}
        return (
            file
            | (training if self.arm.model.finetune else {})
            | flat(protocol.extraction.model_dump(), "extraction")
            | flat(protocol.svm.model_dump(), "svm")
        )
