"""The vocabulary of a study as frozen types: designs, sources, models, folds, arms.

Pure: no I/O, no framework. Every identity in the platform is a :func:`digest` of these types.

The designs, the models A–F and the 5×2 protocol are those of Menegola et al., *Knowledge Transfer
for Melanoma Screening with Deep Learning*, ISBI 2017, sections 3 and 4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from lesion_transfer.errors import UserError

SCHEMA_VERSION = 3
"""Part of every key. Raise it whenever the code would give other numbers for the same inputs."""


def digest(*parts: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of the canonical JSON of ``parts``.

    Canonical: keys sorted, no white space, pydantic models and enums as their JSON values; so equal
    values give equal digests in every process and on every platform.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        raise TypeError(f"{type(value).__name__} has no canonical JSON")

    text = json.dumps(parts, default=plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Frozen(BaseModel):
    """An immutable value that refuses unknown keys and knows its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """SHA-256 of this value's canonical JSON."""
        return digest(self)


# --- diagnoses and designs -----------------------------------------------------------------------

MELANOMA = "melanoma"
CARCINOMAS = frozenset({"basal_cell_carcinoma", "squamous_cell_carcinoma", "carcinoma"})
BENIGN_LESIONS = frozenset(
    {
        "nevus",
        "blue_nevus",
        "clark_nevus",
        "combined_nevus",
        "congenital_nevus",
        "dermal_nevus",
        "recurrent_nevus",
        "spitz_nevus",
        "seborrheic_keratosis",
        "benign_keratosis",
        "actinic_keratosis",
        "lichenoid_keratosis",
        "dermatofibroma",
        "vascular_lesion",
        "lentigo",
        "melanosis",
        "cafe_au_lait_macule",
        "atypical_melanocytic_proliferation",
        "miscellaneous",
        "benign",
    }
)
UNKNOWN = "unknown"
"""No diagnosis, or (ISIC 2019) none of those asked for: in no class of any lesion design."""
LESION_DIAGNOSES = frozenset({MELANOMA, UNKNOWN}) | CARCINOMAS | BENIGN_LESIONS


class Design(StrEnum):
    """A mapping of diagnoses to classes; a diagnosis may be excluded."""

    MALIGNANT_VS_BENIGN = "malignant_vs_benign"
    MELANOMA_VS_BENIGN = "melanoma_vs_benign"
    MELANOMA_VS_CARCINOMA_VS_BENIGN = "melanoma_vs_carcinoma_vs_benign"
    NATIVE = "native"

    @property
    def short(self) -> str:
        """The word that tells it from the other designs, for names with little room."""
        return {
            Design.MALIGNANT_VS_BENIGN: "malignant",
            Design.MELANOMA_VS_BENIGN: "melanoma",
            Design.MELANOMA_VS_CARCINOMA_VS_BENIGN: "three classes",
            Design.NATIVE: "native",
        }[self]

    def classes(self, diagnoses: Iterable[str]) -> tuple[str, ...]:
        """Return the class names; a label is an index into them.

        Two-class designs name the negative class first, so that label 1 is the disease.
        ``native`` has the distinct ``diagnoses``, sorted; the others do not read them.
        """
        match self:
            case Design.MALIGNANT_VS_BENIGN:
                return ("benign", "malignant")
            case Design.MELANOMA_VS_BENIGN:
                return ("benign", "melanoma")
            case Design.MELANOMA_VS_CARCINOMA_VS_BENIGN:
                return ("benign", "melanoma", "carcinoma")
            case Design.NATIVE:
                return tuple(sorted(set(diagnoses)))

    def class_of(self, diagnosis: str) -> str | None:
        """Return the class of ``diagnosis``, or None where this design excludes it.

        Raises
        ------
        UserError
            A lesion design was given a diagnosis that it does not know.
        """
        if self is Design.NATIVE:
            return diagnosis
        if diagnosis not in LESION_DIAGNOSES:
            raise UserError(
                f"design={self.value} cannot place the diagnosis {diagnosis!r}",
                expected="one of " + ", ".join(sorted(LESION_DIAGNOSES)),
                next_step="rename it in the labels, or use design=native to keep the labels as "
                "they are",
            )
        if diagnosis == UNKNOWN:
            return None
        carcinoma = diagnosis in CARCINOMAS
        match self:
            case Design.MALIGNANT_VS_BENIGN:
                return "malignant" if carcinoma or diagnosis == MELANOMA else "benign"
            case Design.MELANOMA_VS_BENIGN if carcinoma:
                return None
            case Design.MELANOMA_VS_CARCINOMA_VS_BENIGN if carcinoma:
                return "carcinoma"
        return "melanoma" if diagnosis == MELANOMA else "benign"


LESION_DESIGNS = tuple(design for design in Design if design is not Design.NATIVE)


# --- sources and models --------------------------------------------------------------------------


def is_stored(name: str) -> bool:
    """Whether a name means something that the tracking server holds."""
    return name.startswith(("models:/", "runs:/"))


class Source(Frozen):
    """Where the initial weights come from: a chain of links, the empty chain being ``none``.

    ``imagenet`` stands for the weights a backbone comes with; ``models:/…`` or ``runs:/…`` for a
    network that the tracking server holds; ``retinopathy`` for a training on retina images, and the
    name of a data set for one on its own labels. Each link starts from the one before it, and
    only the first can be one that is not trained.
    """

    chain: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``none``, ``imagenet+retinopathy``, ``models:/name@alias`` and the like.

        Raises
        ------
        UserError
            The text is no such chain.
        """
        if text == "none":
            return cls()
        links = tuple(link.strip() for link in text.split("+"))
        valid = all(link and link != "none" for link in links)
        ready = [link == "imagenet" or is_stored(link) for link in links[1:]]
        if not valid or any(ready) or len(set(links)) < len(links):
            raise UserError(
                f"source={text!r} is not a chain of sources",
                expected="none, or different names joined by +; imagenet, models:/<name>@<alias> "
                "and runs:/<run id>/<file> can only be the first: imagenet, retinopathy, "
                "imagenet+retinopathy",
            )
        return cls(chain=links)

    def __str__(self) -> str:
        return "+".join(self.chain) or "none"

    @property
    def parent(self) -> Source:
        """The chain without its last link."""
        return Source(chain=self.chain[:-1])


class Model(Frozen):
    """A pair (source, fine-tune?); six of them have the paper's letters A–F."""

    source: Source
    finetune: bool

    @property
    def letter(self) -> str:
        """``A``–``F``, or the pair spelt out where the paper has no letter for it."""
        letters = {model: letter for letter, model in MODELS.items()}
        return letters.get(self) or f"{self.source}, {'fine-tuned' if self.finetune else 'frozen'}"


def _model(source: str, finetune: bool) -> Model:
    return Model(source=Source.parse(source), finetune=finetune)


MODELS: dict[str, Model] = {
    "A": _model("none", True),
    "B": _model("retinopathy", False),
    "C": _model("retinopathy", True),
    "D": _model("imagenet", False),
    "E": _model("imagenet", True),
    "F": _model("imagenet+retinopathy", True),
}


# --- folds ---------------------------------------------------------------------------------------


class Fold(Frozen):
    """Fold ``RxH`` of r×2 cross-validation: repeat R, train on half H, test on the other."""

    repeat: int = Field(ge=1)
    half: int = Field(ge=1, le=2)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1x2``.

        Raises
        ------
        UserError
            The text is not of the form RxH with R ≥ 1 and H 1 or 2.
        """
        repeat, _, half = text.strip().partition("x")
        if not (repeat.isdecimal() and int(repeat) >= 1 and half in ("1", "2")):
            raise UserError(
                f"folds: {text!r} is not a fold",
                expected="RxH, repeat R from 1, half H 1 or 2; for example folds=1x1,1x2",
            )
        return cls(repeat=int(repeat), half=int(half))

    def __str__(self) -> str:
        return f"{self.repeat}x{self.half}"


def all_folds(repeats: int) -> tuple[Fold, ...]:
    """Every fold of ``repeats``×2 cross-validation, in order."""
    return tuple(Fold(repeat=r, half=h) for r in range(1, repeats + 1) for h in (1, 2))


def parse_folds(text: str, repeats: int) -> tuple[Fold, ...]:
    """Read ``all`` or a comma-separated list of folds, each once, in order.

    Raises
    ------
    UserError
        A fold is malformed or its repeat is beyond ``repeats``.
    """
    if text == "all":
        return all_folds(repeats)
    folds = sorted({Fold.parse(part) for part in text.split(",")}, key=lambda f: (f.repeat, f.half))
    for fold in folds:
        if fold.repeat > repeats:
            raise UserError(
                f"folds: {fold} is beyond the protocol's {repeats} repeats",
                expected=f"repeats 1 to {repeats}",
            )
    return tuple(folds)


class Arm(Frozen):
    """Design × model × target × backbone × protocol: what a cell of the results table reports.

    ``dataset``, ``backbone`` and ``protocol`` are the names a reader sees; what decides a result
    is in the keys of the arm's folds.
    """

    dataset: str
    design: Design
    model: Model
    backbone: str
    protocol: str
    image_size: int
    seed: int

    def __str__(self) -> str:
        return f"{self.design.value} · {self.model.letter} · {self.dataset} · {self.backbone}"
