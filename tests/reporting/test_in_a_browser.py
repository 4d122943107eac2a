"""The page in Chromium: at the width of a desktop and of a phone, and on paper."""

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape

import pandas as pd
import pytest

from lesion_transfer.reporting.page import FOLD_COLUMNS, MISSING_COLUMNS, Section, html
from lesion_transfer.reporting.sections import section, side_by_side

pytestmark = pytest.mark.slow

TWO, THREE = "melanoma_vs_benign", "melanoma_vs_carcinoma_vs_benign"
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
]
LOOK = """<script>
document.querySelectorAll("details").forEach(part => part.open = true);
const width = document.documentElement.clientWidth;
const wide = [...document.querySelectorAll("body *")]
  .filter(part => !part.closest(".scroll, svg") && part.getBoundingClientRect().right > width + 1)
  .map(part => part.tagName + " " + part.textContent.slice(0, 40));
const small = [...document.querySelectorAll("svg text")]
  .filter(text => text.getBoundingClientRect().height < 8).map(text => text.textContent);
parent.document.title = JSON.stringify(
  [innerWidth, document.documentElement.scrollWidth, wide, small.length]);
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed")
    assert found is not None, "CI needs Chromium"
    return found


@pytest.fixture
def browse(chromium, tmp_path):
    def run(page: str, *options: str) -> str:
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        command = [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *options]
        return subprocess.run(
            [*command, (tmp_path / "page.html").as_uri()],
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip

    return run


@pytest.fixture(scope="module")
def page(table, arms) -> str:
    address = "https://mlflow.example/#/runs/"
    folds = [
        (design, model, fold, area, f"{number:032x}", f"{address}{number:032x}")
        for design, models in arms.items()
        for model, found in models.items()
        for number, (fold, area) in enumerate(found.aucs.items())
    ]
    command = "mlflow run . -e evaluate -P design=" + THREE + " -P data_root=/a/long/name" * 5
    whole = Section(
        **vars(section(table, arms))
        | {
            "folds": pd.DataFrame(folds, columns=[*FOLD_COLUMNS]),
            "missing": pd.DataFrame([(THREE, "C", 3, command)], columns=[*MISSING_COLUMNS]),
        }
    )
    return html([whole], {"their data": 64 * "0"}, ["a note"], side_by_side([table, table]))


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_is_wider_than_the_screen(browse, page, width):
    # Its windows are 500 pixels wide and more; a frame may be narrower.
    frame = f'<iframe srcdoc="{escape(page + LOOK)}" style="border: 0; width: {width}px"></iframe>'
    shown = browse(f"<title></title>{frame}", "--dump-dom", "--window-size=1400,900")
    title = unescape(re.search(r"<title>(.*?)</title>", shown, re.DOTALL).group(1))
    inner, scroll, wide, small = json.loads(title)
    assert inner == width
    assert wide == []
    assert scroll <= width
    assert small == 0, "labels of figures can be read"


def test_prints(browse, page, tmp_path):
    paper = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 50_000
