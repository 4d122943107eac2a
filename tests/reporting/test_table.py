from dataclasses import FrozenInstanceError
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from lesion_transfer.errors import UserError
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.page import Section, html
from lesion_transfer.reporting.plot import results_figure
from lesion_transfer.reporting.render import csv, markdown, signed, terminal
from lesion_transfer.reporting.table import results_tables

STAND_IN = "imagenet is a stand-in"


def arm(model="E", design="melanoma_vs_benign", mean=0.825, **changes):
    return {
        "dataset": "demo",
        "backbone": "small_vgg",
        "protocol": "demo",
        "image_size": 64,
        "design": design,
        "model": model,
        "source": "imagenet",
        "finetune": True,
        "stand_in": "",
        "n_folds": 10,
        "expected_folds": 10,
        "mean": mean,
        "sd": 0.012,
        "ci_low": mean - 0.03,
        "ci_high": mean + 0.03,
        "run_id": f"run-{model}",
        **changes,
    }


def table(*arms):
    (found,) = results_tables(pd.DataFrame(list(arms)))
    return found


def page(found):
    return html([Section(found)])


def shown(value, width):
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(terminal(value, console))
    return console.file.getvalue()


def test_cells():
    found = table(arm("E", mean=0.825), arm("D", mean=0.80), arm("F", mean=0.9, n_folds=4))
    assert [row.name for row in found.models] == list("ABCDEF")
    by_model = {row.name: found.cell("melanoma_vs_benign", row) for row in found.models}
    assert by_model["E"].text == "82.5 ± 1.2"
    assert by_model["E"].interval == "79.5–85.5"
    assert (by_model["E"].best, by_model["D"].best) == (True, False)
    assert by_model["E"].difference == pytest.approx(0.825 - 0.809)
    assert not by_model["F"].best, "an incomplete mean does not compete"
    assert by_model["F"].progress == "4/10"
    assert by_model["A"].text == "–"
    assert by_model["A"].paper == 0.757
    with pytest.raises(FrozenInstanceError):
        found.dataset = "other"


def test_one_complete_cell_is_not_the_best_of_anything():
    found = table(arm("E"), arm("D", n_folds=9))
    assert not any(cell.best for cell in found.cells.values())


def test_one_fold_has_no_spread():
    found = table(arm(n_folds=1, sd=float("nan"), ci_low=float("nan"), ci_high=float("nan")))
    cell = found.cells["melanoma_vs_benign", "E"]
    assert (cell.text, cell.interval) == ("82.5", "–")


def test_tables_are_apart_and_designs_in_order():
    arms = [arm(design=design) for design in ("melanoma_vs_benign", "malignant_vs_benign")]
    tables = results_tables(pd.DataFrame([*arms, arm(image_size=224), arm(dataset="atlas")]))
    assert [(t.dataset, t.image_size) for t in tables] == [
        ("atlas", 64),
        ("demo", 64),
        ("demo", 224),
    ]
    assert tables[1].designs == ("malignant_vs_benign", "melanoma_vs_benign")


def test_other_designs_have_only_their_models_and_nothing_published():
    found = table(arm("imagenet+x, frozen", design="native"))
    assert [row.name for row in found.models] == ["imagenet+x, frozen"]
    assert not found.published
    assert "paper" not in markdown(found) + shown(found, 120) + page(found)


def test_models_that_were_not_asked_for_have_no_row():
    (found,) = results_tables(pd.DataFrame([arm("D")]), letters=("D", "E"))
    assert [row.name for row in found.models] == ["D", "E"]
    assert found.found == ("D",)


def test_says_what_is_not_comparable():
    same = table(arm(dataset="atlas", backbone="vgg_m", image_size=224))
    assert same.comparable
    assert "not comparable" not in markdown(same)
    for text in (markdown(table(arm())), page(table(arm()))):
        assert "demo, small_vgg, 64 px" in text
        assert "not comparable" in text


def test_two_arms_for_one_cell_are_refused():
    with pytest.raises(UserError, match="runs run-E and again"):
        table(arm(), arm(run_id="again"))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="lacks ci_low"):
        results_tables(pd.DataFrame([arm()]).drop(columns="ci_low"))


def test_stand_ins_are_marked_everywhere():
    found = table(arm("E", stand_in=STAND_IN), arm("C", source="retinopathy"))
    assert {row.name: row.marks for row in found.models if row.marks} == {"E": "†"}
    for text in (markdown(found), page(found), shown(found, 100), shown(found, 80)):
        assert "E†" in text
        assert f"† {STAND_IN}" in text
        assert "C†" not in text
        assert DISCLAIMER in text
    assert STAND_IN in csv([found])
    figure = results_figure(found)
    assert "E†" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert any(STAND_IN in text.get_text() for text in figure.texts)


def test_terminal_fits_and_hides_what_does_not():
    designs = ("malignant_vs_benign", "melanoma_vs_benign", "melanoma_vs_carcinoma_vs_benign")
    arms = [arm(model, design, n_folds=4) for design in designs for model in "ABCDEF"]
    wide, narrow = (shown(table(*arms), width) for width in (100, 80))
    assert max(map(len, wide.splitlines())) <= 100
    assert "paper    82.5" in wide
    assert max(map(len, narrow.splitlines())) <= 80
    assert "re-impl." not in narrow
    assert narrow.count("82.5 ± 1.2  4/10") == 18


def test_markdown_cells():
    text = markdown(table(arm("E"), arm("D", mean=0.7, n_folds=4)))
    assert "| 70.0 ± 1.2 (67.0–73.0) 4/10 | 77.9 (−7.9) | 76.1 (−6.1) |" in text
    assert "| 82.5 ± 1.2 (79.5–85.5) | 80.9 (+1.6) |" in text
    assert "| – | 75.7 | 60.7 |" in text
    odd = markdown(table(arm(dataset="a|b<c>")))
    assert r"a\|b\<c\>" in odd


def test_csv_has_every_cell():
    frame = pd.read_csv(StringIO(csv([table(arm("E"), arm("D", mean=0.8))])))
    assert len(frame) == 6
    row = frame.set_index("model").loc["E"]
    assert (row["mean"], row["paper"], row["best"]) == (0.825, 0.809, True)
    assert frame["n_folds"].sum() == 20


def test_html_escapes():
    text = page(table(arm(dataset="<script>x</script>", stand_in="a <b>", source="<i>+y")))
    assert "<script>" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;" in text
    assert "a &lt;b&gt;" in text


def test_signed():
    found = [signed(value) for value in (0.0131, -0.0131, -0.0001, None)]
    assert found == ["+1.3", "−1.3", "±0.0", "–"]
