"""The demo study from an empty cache, then again: seconds, peak memory, and what reuse saves.

    python benchmarks/study.py [--designs …] [--models …] [--folds …]

Prints the time of the second run as a share of the first, both measured here, each in a process of
its own; start-up is counted in.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(folder: Path, arguments: list[str]) -> float:
    """Run the study in ``folder`` and return the seconds it took."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    command = [sys.executable, "-m", "lesion_transfer", "main", "--cache", str(folder / "cache")]
    began = time.perf_counter()
    subprocess.run([*command, *arguments], cwd=folder, env=environment, check=True)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = run(folder, sys.argv[1:])
        second = run(folder, sys.argv[1:])
    unit = 2**20 if sys.platform != "darwin" else 2**30
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    print(f"first run {first:.0f} s, again {second:.1f} s: {second / first:.1%} of the time")
    print(f"peak memory of a process {peak:.2f} GiB; {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
