import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from lesion_transfer.evaluation.contrasts import Evidence, contrasts
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.frames import (
    CONTRAST_COLUMNS,
    METRIC_COLUMNS,
    answer_frame,
    contrast_frame,
    metric_frame,
    metric_name,
)
from lesion_transfer.reporting.latex import latex
from lesion_transfer.reporting.page import (
    FOLD_COLUMNS,
    MISSING_COLUMNS,
    Section,
    html,
    p_value,
    share,
)
from lesion_transfer.reporting.render import percent, signed
from lesion_transfer.reporting.sections import section, side_by_side

VOID = {"meta", "br", "wbr", "img"}
TWO, THREE = "melanoma_vs_benign", "melanoma_vs_carcinoma_vs_benign"


class Balanced(HTMLParser):
    """Follows the open elements, and fails where one is closed that is not the last."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(table, arms):
    return section(table, arms)


@pytest.fixture(scope="module")
def page(made):
    folds = pd.DataFrame(
        [(TWO, "A", "1x1", 0.81234, "0123456789ab", "https://mlflow.example/#/runs/0123456789ab")],
        columns=FOLD_COLUMNS,
    )
    missing = pd.DataFrame(
        [(THREE, "C", 3, "mlflow run . -e evaluate -P source=<retina>")], columns=MISSING_COLUMNS
    )
    whole = Section(**vars(made) | {"folds": folds, "missing": missing})
    return html([whole], {"code": "abc & def"}, ["a <b> note"])


def test_is_whole_and_needs_nothing_else(page):
    reader = Balanced()
    reader.feed(page)
    assert reader.open == []
    assert {"table", "svg", "details", "pre", "dl"} <= reader.seen
    assert not {"script", "link", "img", "iframe"} & reader.seen
    addresses = set(re.findall(r'(?:href|src)="([^"#][^"]*)"', page))
    assert addresses == {"https://mlflow.example/#/runs/0123456789ab"}
    assert "url(http" not in page
    assert page.count(DISCLAIMER) == 2


def test_figures_follow_the_colours_of_the_page(made):
    for panels in (made.forest, made.roc, made.reliability, made.decision):
        for panel in panels:
            assert "var(--ink)" in panel.svg
            assert 'role="img"' in panel.svg
            assert "#1b1f24" not in panel.svg
            assert "#0072b2" not in panel.svg
    assert [panel.design for panel in made.roc] == [TWO, THREE]
    assert [panel.design for panel in made.decision] == [TWO], "of two classes only"


def test_says_what_was_found_and_what_was_not(page, made):
    verdicts = made.contrasts.set_index(["design", "first", "second"])["verdict"]
    assert "E is better than A" in verdicts[TWO, "A", "E"]
    assert "No evidence of a difference" in verdicts[TWO, "A", "C"]
    assert verdicts[THREE, "A", "C"] == "Not tested: C has 7 of 10 folds."
    for verdict in verdicts:
        assert verdict in page
    assert "equal" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_shows_folds_what_is_missing_and_where_it_comes_from(page):
    assert ">81.2</a>" in page
    assert "01234567</small>" in page
    assert "-P source=&lt;retina&gt;" in page
    assert "3 folds" in page
    assert "abc &amp; def" in page
    assert "a &lt;b&gt; note" in page


def test_the_matrix_has_every_pair_and_the_ps_of_the_declared_ones(page, table, made):
    start = page.index('<table class="matrix">')
    matrix = page[start : page.index("</table>", start)]
    rows = {
        name: re.findall(r"<td.*?</td>", cells, flags=re.DOTALL)
        for name, cells in re.findall(r"<b>([ACE])</b></th>(.*?)</tr>", matrix, flags=re.DOTALL)
    }
    assert [len(cells) for cells in rows.values()] == [3, 3, 3]
    a, e = (table.cells[TWO, model].mean for model in "AE")
    assert signed(e - a) in rows["E"][0]
    assert signed(a - e) in rows["A"][2]
    assert rows["A"][0] == "<td></td>"
    tested = made.contrasts.set_index(["design", "first", "second"])["f_p_holm"]
    assert f"p {p_value(tested[TWO, 'A', 'E'])}".replace("<", "&lt;") in rows["A"][2]


def test_says_what_images_are_taken_for(page, arms, made):
    fold = arms[TWO]["E"].folds.values()
    truth = np.concatenate([each.labels for each in fold])
    called = np.concatenate([each.predicted for each in fold])
    share = confusion_matrix(truth, called, normalize="true")
    table = page[page.index('<table class="answers">') :]
    rows = re.search(r"<b>E</b>.*?benign(.*?)</tr>.*?melanoma(.*?)</tr>", table, re.DOTALL).groups()
    shown = [[int(cell) for cell in re.findall(r">(\d+)</td>", row)] for row in rows]
    assert shown == [[int(f"{100 * cell:.0f}") for cell in row] for row in share]
    answers = made.answers.set_index(["design", "model", "class", "answer"])["share"]
    assert answers[TWO, "E", "melanoma", "benign"] == pytest.approx(share[1, 0])


def test_a_class_without_images_has_no_answers(arms):
    some = arms[TWO]["A"]
    folds = {
        name: replace(fold, labels=np.zeros_like(fold.labels)) for name, fold in some.folds.items()
    }
    frame = answer_frame({TWO: {"A": Evidence("A", folds, 10)}}).set_index(["class", "answer"])
    assert frame.loc["benign", "share"].sum() == pytest.approx(1)
    assert frame.loc["melanoma", "share"].isna().all()


def test_equal_evidence_gives_equal_pages(table, arms, made):
    assert html([section(table, arms)]) == html([made])


def test_another_reference(table, arms):
    frame = section(table, arms, [("C", "A"), ("C", "E")]).contrasts
    assert [tuple(pair) for pair in frame[["first", "second"]].to_numpy()] == 2 * [
        ("C", "A"),
        ("C", "E"),
    ]


def test_frames_hold_the_numbers(arms):
    frame = contrast_frame({TWO: contrasts(arms[TWO])})
    assert tuple(frame.columns) == CONTRAST_COLUMNS
    assert frame["problem"].eq("").all()
    metrics = metric_frame(arms)
    assert tuple(metrics.columns) == METRIC_COLUMNS
    area = metrics.set_index(["design", "model", "metric"]).loc[(TWO, "E", "auc")]
    assert area["ci_low"] < area["mean"] < area["ci_high"]


def test_tables_side_by_side(table):
    assert side_by_side([table]) == ()
    both = side_by_side([table, replace(table, protocol="other", image_size=96)])
    assert [panel.design for panel in both] == [TWO, THREE]
    assert both[0].svg.count(">96 px, other<") == both[0].svg.count(
        f">{table.image_size} px, demo<"
    )
    assert both[0].svg.count(">96 px, other<") == 3
    assert "small_vgg" not in both[0].svg, "only what tells the tables apart is said"


def test_words():
    assert [p_value(p) for p in (0.0, 0.00049, 0.0123, 0.5, float("nan"))] == [
        "< 0.001",
        "< 0.001",
        "0.012",
        "0.50",
        "–",
    ]
    assert [share(value) for value in (0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "< 1 %",
        "< 1 %",
        "50 %",
        "> 99 %",
        "> 99 %",
    ]
    assert metric_name("auc_benign_vs_basal_cell") == "AUC benign vs basal cell"
    assert metric_name("sensitivity_at_95_specificity") == "sensitivity at 95 % specificity"


def test_latex_is_balanced_and_escaped(table):
    text = latex([table])
    assert text.count("{") == text.count("}")
    assert r"\textbf{" in text
    assert r"small\_vgg" in text
    assert "%" not in re.sub(r"\\%", "", text).partition("\n")[2]
    assert not set(text) & set("±−–×†·")
    columns = re.search(r"\\begin{tabular}{(l+r+)}", text).group(1)
    (row,) = [line for line in text.splitlines() if line.startswith("E &")]
    assert row.count("&") == len(columns) - 1
    assert "re-impl." in text
    for cell in (cell for (_, name), cell in table.cells.items() if name == "E"):
        assert percent(cell.reimplementation) in row


def test_who_chose_the_comparisons_is_said(made, page):
    assert "Comparisons chosen before the results were seen" in page
    asked = html([replace(made, reference="E")])
    assert "chosen before the results were seen." in asked
    assert "Comparisons chosen before" not in asked
