"""The drawn worlds: ``synthetic`` (lesions), ``synthetic_retinas``, ``synthetic_generic``.

They need no files and no ``data_root``; the seed decides every picture. What they are, and their
counts: :mod:`lesion_transfer.data.synthetic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.decode import RGB
from lesion_transfer.data.records import ImageRecord, validate_records
from lesion_transfer.data.synthetic import VERSION, World, generic, lesions, retinas
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Shows
from lesion_transfer.study import digest


@dataclass(frozen=True)
class SyntheticAdapter:
    """An adapter of a drawn world."""

    name: str
    world: World
    shows: Shows = "lesion"

    def open(self, data_root: str | None, seed: int) -> Dataset:
        """Plan the world of this ``seed``; pictures are drawn when they are loaded.

        ``data_root`` is not read: it may belong to the other data set of a transfer.

        Raises
        ------
        UserError
            ``seed`` is negative.
        """
        if seed < 0:
            raise UserError(f"seed={seed} is negative", expected="0 or more")
        plan = self.world.plan(seed)
        numbers = {picture.image_id: number for number, picture in enumerate(plan)}
        records = validate_records(
            (
                ImageRecord(picture.image_id, picture.group_id, picture.diagnosis, self.name)
                for picture in plan
            ),
            self.name,
        )
        identity = digest(self.name, VERSION, self.world.parameters, seed)
        return Dataset(
            self.name, records, identity, partial(_draw, self.world, seed, numbers), self.shows
        )


def _draw(world: World, seed: int, numbers: dict[str, int], record: ImageRecord) -> RGB:
    return world.draw(seed, numbers[record.image_id])


ADAPTERS = (
    SyntheticAdapter("synthetic", lesions.WORLD),
    SyntheticAdapter("synthetic_retinas", retinas.WORLD, "retina"),
    SyntheticAdapter("synthetic_generic", generic.WORLD, "other"),
)
