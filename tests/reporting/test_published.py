from lesion_transfer.reporting.published import published_results
from lesion_transfer.study import LESION_DESIGNS, MODELS


def test_published_numbers():
    published = published_results()
    assert list(published.columns) == ["table", "dataset", "backbone", "design", "model", "auc"]
    assert published["table"].value_counts().to_dict() == {"paper": 18, "reimplementation": 9}
    assert set(published["design"]) == {design.value for design in LESION_DESIGNS}
    assert set(published["model"]) == set(MODELS)
    table = published.set_index(["table", "design", "model"])["auc"]
    assert table["paper", "malignant_vs_benign", "E"] == 82.5
    assert table["paper", "melanoma_vs_carcinoma_vs_benign", "B"] == 71.4
    assert table["reimplementation", "melanoma_vs_benign", "A"] == 60.7
