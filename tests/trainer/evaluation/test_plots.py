"""The claims of the plots: whole PNGs, no text over another, words for what a colour shows."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.helpers.pictures import TITLE, check_picture, saved
from tests.helpers.predictions import NAMES, baseline, make, run_folder
from trainer.evaluation import plots
from trainer.evaluation.metrics import run_metrics, score
from trainer.evaluation.predictions import read
from trainer.reporting import figures
from trainer.run.text import estimate


@pytest.fixture
def drawn(monkeypatch):
    return saved(monkeypatch, plots)


def history(epochs, fine_tune_from=None):
    rows = [
        {
            "epoch": epoch,
            "phase": "fine_tune" if fine_tune_from and epoch >= fine_tune_from else "head",
            "loss": 1 / epoch,
            "accuracy": 1 - 0.5 / epoch,
            "val_loss": 1.2 / epoch + 0.2,
            "val_accuracy": 0.9 - 0.5 / epoch,
            "val_balanced_accuracy": 0.85 - 0.5 / epoch,
            "best": epoch == epochs,
        }
        for epoch in range(1, epochs + 1)
    ]
    return rows


def predictions(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    shares = rng.dirichlet(np.ones(classes), n) + 0.2 * np.eye(classes)[labels]
    table = make(labels, (shares / 1.2).astype(np.float32))
    right = (table.predicted == labels).mean()
    assert n < 10 or 1 / classes < right < 1  # pictures of both are looked at
    return table


def images(n):
    rng = np.random.default_rng(0)
    sizes = rng.integers(60, 120, (n, 2))
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize(("epochs", "fine"), [(1, None), (2, 2), (12, 9), (100, 81)])
def test_curves(drawn, tmp_path, epochs, fine):
    path = tmp_path / "curves.png"
    plots.curves(history(epochs, fine), path, title=TITLE)
    check_picture(path, drawn[0], f"{epochs} epoch{'s' if epochs > 1 else ''}")
    accuracy, loss, legend = drawn[0].axes
    lines = {line.get_label(): line for line in accuracy.lines}
    assert list(lines["best epoch"].get_xdata()) == [epochs]
    assert lines["best epoch"].get_ydata() == [history(epochs)[-1]["val_balanced_accuracy"]]
    assert lines["train"].get_linestyle() != lines["validation"].get_linestyle()
    assert list(lines["train"].get_ydata()) == [row["accuracy"] for row in history(epochs)]
    assert {"train", "validation", "best epoch"} <= {line.get_label() for line in loss.lines}
    labels = [text.get_text() for text in legend.get_legend().get_texts()]
    assert ("fine-tuning starts" in labels) == (fine is not None)
    if fine:
        assert set(lines["fine-tuning starts"].get_xdata()) == {fine - 0.5}


def test_curves_have_the_shortcut_baseline_in_them(drawn, tmp_path):
    path = tmp_path / "curves.png"
    plots.curves(history(12, 9), path, title=TITLE, baseline=0.7)
    check_picture(path, drawn[0], "12 epochs")
    accuracy, _, legend = drawn[0].axes
    line = next(x for x in accuracy.lines if x.get_label() == "shortcut baseline, balanced")
    assert set(line.get_ydata()) == {0.7}
    assert "shortcut baseline, balanced" in [t.get_text() for t in legend.get_legend().get_texts()]


def test_curves_leave_a_gap_for_what_is_missing(drawn, tmp_path):
    rows = history(5)
    rows[2] |= {"val_balanced_accuracy": None, "val_loss": float("nan"), "loss": float("inf")}
    del rows[4]["val_accuracy"]
    plots.curves(rows, tmp_path / "curves.png", title=TITLE)
    check_picture(tmp_path / "curves.png", drawn[0], "5 epochs")
    balanced = next(x for x in drawn[0].axes[0].lines if x.get_label() == "validation, balanced")
    assert list(np.isnan(balanced.get_ydata())) == [False, False, True, False, False]


@pytest.mark.parametrize("epochs", [[], [1, 2, 1], [3, 3]])
def test_curves_refuse_epochs_that_do_not_rise(tmp_path, epochs):
    rows = [history(1)[0] | {"epoch": epoch} for epoch in epochs]
    with pytest.raises(ValueError, match="one rising sequence"):
        plots.curves(rows, tmp_path / "curves.png", title=TITLE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("n", "classes"), [(700, 4), (36, 2), (3, 4)])
def test_confusion_matrix(drawn, tmp_path, n, classes):
    path, names = tmp_path / "confusion.png", NAMES[:classes]
    confusion = np.array(score(predictions(n, classes))["confusion"])
    plots.confusion_matrix(confusion.tolist(), names, path, title=TITLE)
    check_picture(path, drawn[0], f"n = {n} images")
    cells = [text.get_text().split("\n") for text in drawn[0].axes[0].texts]
    assert [int(cell[0]) for cell in cells] == confusion.ravel().tolist()
    for cell, (row, column) in zip(cells, np.ndindex(confusion.shape), strict=True):
        total = confusion[row].sum()
        assert cell[1:] == ([f"{100 * confusion[row, column] / total:.0f} %"] if total else [])
    assert n < 10 or (confusion != confusion.T).any()


def test_shares_of_a_confusion_matrix_are_all_or_nothing_where_they_are_that(drawn, tmp_path):
    plots.confusion_matrix([[249, 1], [0, 7]], NAMES[:2], tmp_path / "c.png", title=TITLE)
    cells = [text.get_text().split("\n")[1] for text in drawn[0].axes[0].texts]
    assert cells == [">99 %", "<1 %", "0 %", "100 %"]


def test_the_array_for_tensorboard_is_the_same_picture(tmp_path):
    confusion = [[7, 2], [0, 9]]
    plots.confusion_matrix(confusion, NAMES[:2], tmp_path / "c.png", title=TITLE)
    array = plots.confusion_figure(confusion, NAMES[:2], title=TITLE)
    assert array.dtype == np.uint8
    with Image.open(tmp_path / "c.png") as image:
        np.testing.assert_array_equal(array, np.asarray(image)[..., :3])


def test_confusion_refuses_another_number_of_names():
    with pytest.raises(ValueError, match="one row and one column per name"):
        plots.confusion_figure([[1, 0], [0, 1]], NAMES, title=TITLE)


@pytest.mark.parametrize(("n", "classes"), [(200, 4), (36, 2), (3, 4)])
def test_roc(drawn, tmp_path, n, classes):
    path, names, p = tmp_path / "roc.png", NAMES[:classes], predictions(n, classes)
    scores = score(p)
    plots.roc(p, scores, path, title=TITLE)
    check_picture(path, drawn[0], f"n = {n} images of {n} patient groups")
    axes, legend = drawn[0].axes
    areas = {name: own["roc_auc"] for name, own in scores["classes"].items()}
    labels = [text.get_text() for text in legend.get_legend().get_texts()]
    for name, line, text in zip(names, axes.lines, labels, strict=False):
        area = areas[name]
        assert text.startswith(name)
        if area["value"] is None:
            assert text.endswith("AUC undefined")
            assert len(line.get_xdata()) == 0
        else:
            assert text.endswith(f"AUC {estimate(area)}")
            under = np.trapezoid(line.get_ydata(), line.get_xdata())
            assert under == pytest.approx(area["value"])
    curves = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert len({(line.get_linestyle(), line.get_color()) for line in curves}) == classes + 1
    rings = [line.get_xydata()[0] for line in axes.lines if line.get_linestyle() == "None"]
    points = [
        (1 - own["specificity"]["value"], own["sensitivity"]["value"])
        for own in scores["classes"].values()
        if own["sensitivity"]["value"] is not None
    ]
    np.testing.assert_allclose(rings, points)  # where the most probable class is called


@pytest.mark.slow
@pytest.mark.parametrize(("n", "classes"), [(1, 2), (2, 4), (5, 2), (16, 4), (40, 4)])
def test_gallery(drawn, tmp_path, n, classes):
    path, p = tmp_path / "gallery.png", predictions(n, classes, seed=3)
    plots.gallery(images(n), p.labels, p.probabilities, NAMES, path, title=TITLE)
    shown = min(n, 16)
    check_picture(path, drawn[0], f"n = {n}, {shown} shown")
    panels = [axes for axes in drawn[0].axes if axes.images]
    assert len(panels) == shown
    for axes, image, label, row in zip(panels, images(n), p.labels, p.probabilities, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
        called, wrong = row.argmax(), row.argmax() != label
        comment = f"✗ truth: {NAMES[label]}" if wrong else "✓ right"
        assert axes.get_title() == f"{NAMES[called]} {row[called]:.2f}\n{comment}"
        assert (axes.spines["left"].get_linestyle() == "--") == wrong


@pytest.mark.slow
def test_a_gallery_of_a_sample_names_the_size_of_the_split(drawn, tmp_path):
    p, path = predictions(40, 2), tmp_path / "gallery.png"
    at = plots.gallery_sample(40, seed=3)
    assert len(set(at.tolist())) == 16
    assert at.tolist() == plots.gallery_sample(40, seed=3).tolist()
    assert at.tolist() != plots.gallery_sample(40, seed=4).tolist()
    assert sorted(plots.gallery_sample(5, seed=3)) == list(range(5))
    shown = (images(16), p.labels[at], p.probabilities[at], NAMES)
    plots.gallery(*shown, path, title=TITLE, total=40)
    check_picture(path, drawn[0], "n = 40, 16 shown")


@pytest.mark.slow
def test_gallery_refuses_what_is_no_image(tmp_path):
    p, path = predictions(2, 2), tmp_path / "gallery.png"
    for bad in (images(1), []):
        with pytest.raises(ValueError, match="one of each per image"):
            plots.gallery(bad, p.labels, p.probabilities, NAMES, path, title=TITLE)
    for image in (images(2)[0][..., None], images(2)[0] / 255):
        with pytest.raises(ValueError, match=r"expected uint8 \[height, width\]"):
            plots.gallery([image] * 2, p.labels, p.probabilities, NAMES, path, title=TITLE)
    assert not list(tmp_path.iterdir())


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plots.curves(history(3), tmp_path / name, title=TITLE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.slow
def test_all_plots_of_a_run_come_from_its_folder(tmp_path):
    run_folder(tmp_path)
    metrics = run_metrics(tmp_path, baseline())
    plots.draw_run(tmp_path, metrics, None)
    pngs = {"curves.png", "confusion.png", "roc.png"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == pngs
    test = read(tmp_path / "predictions.csv").of_split("test")
    at = plots.gallery_sample(80, seed=1)
    squares = np.zeros((16, 40, 40), np.uint8)
    plots.draw_run(tmp_path, metrics, (squares, test.labels[at], test.probabilities[at]))
    assert {path.name for path in (tmp_path / "plots").iterdir()} == pngs | {"gallery.png"}
    for path in (tmp_path / "plots").iterdir():
        with Image.open(path) as image:
            image.load()


def test_settings_of_the_user_change_no_plot():
    wanted = plots.confusion_figure([[1, 0], [0, 1]], NAMES[:2], title=TITLE)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "savefig.dpi": 90_000}):
        again = plots.confusion_figure([[1, 0], [0, 1]], NAMES[:2], title=TITLE)
    np.testing.assert_array_equal(again, wanted)


def test_a_name_with_dollars_is_no_formula():
    formula = plots.confusion_figure([[1, 0], [0, 1]], ("a $\\frac$ b", "ill"), title=TITLE)
    assert formula.shape[-1] == 3  # as a formula that is an error


def test_names_in_letters_that_the_font_lacks_are_drawn_without_a_warning(tmp_path):
    names = ["\N{CJK UNIFIED IDEOGRAPH-80F8}", "\N{CJK UNIFIED IDEOGRAPH-80BA}"]
    plots.confusion_matrix([[1, 0], [0, 1]], names, tmp_path / "c.png", title=TITLE)
    plots.confusion_figure([[1, 0], [0, 1]], names, title=TITLE)
    assert names[0].encode() in figures.svg(plots.draw_confusion, [[1, 0], [0, 1]], names, TITLE)
