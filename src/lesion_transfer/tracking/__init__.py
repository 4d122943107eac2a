"""The platform's one door to MLflow: nothing else imports it."""

from lesion_transfer.tracking.reading import StoredRun
from lesion_transfer.tracking.runs import Run
from lesion_transfer.tracking.schema import COMPLETE, Kind, Tag, Unit, flat
from lesion_transfer.tracking.tracker import Tracker

__all__ = ["COMPLETE", "Kind", "Run", "StoredRun", "Tag", "Tracker", "Unit", "flat"]
