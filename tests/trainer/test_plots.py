"""The claims of trainer.plots: whole PNGs, nothing over anything, everything said in words."""

import itertools

import numpy as np
import pytest
from PIL import Image

from trainer.evaluation import plots
from trainer.evaluation.metrics import Predictions, score

NAMES = ("healthy", "covid19", "bacterial", "viral")
TITLE = "phantom 1.0.0 (synthetic images), VGG16 with ImageNet weights, test split"


def saved(monkeypatch, module):
    """The figures that a module saves from now on, to look at what they say."""
    figures, save = [], module.save

    def keep(figure, path):
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(module, "save", keep)
    return figures


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
            "kept": epoch == epochs,
        }
        for epoch in range(1, epochs + 1)
    ]
    return rows


def predictions(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    shares = rng.dirichlet(np.ones(classes), n) + np.eye(classes)[labels]
    names = [str(i) for i in range(n)]
    return Predictions(names, names, ["s"] * n, labels, (shares / 2).astype(np.float32))


def images(n):
    rng = np.random.default_rng(0)
    sizes = rng.integers(60, 120, (n, 2))
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def words(figure):
    """Every text outside the tick labels, with its box in pixels."""
    figure.canvas.draw()
    texts = [figure._suptitle, figure._supxlabel]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        if axes.get_legend():
            texts += axes.get_legend().get_texts()
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text()]


def check_picture(path, figure, count):
    """The PNG is whole, its footer is complete, and no text leaves it or meets another."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == tuple(figure.canvas.get_width_height())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    footer = figure.get_supxlabel().replace("\n", " ")
    assert footer == f"{TITLE} {count} · research use, not for diagnosis"
    found = words(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (a, first), (b, second) in itertools.combinations(found, 2):
        assert not first.overlaps(second), f"{a!r} over {b!r}"


@pytest.mark.parametrize(("epochs", "fine"), [(1, None), (2, 2), (12, 9), (100, 81)])
def test_curves(drawn, tmp_path, epochs, fine):
    path = tmp_path / "curves.png"
    plots.curves(history(epochs, fine), path, title=TITLE)
    check_picture(path, drawn[0], f"{epochs} epoch{'s' if epochs > 1 else ''}")
    accuracy, loss, legend = drawn[0].axes
    lines = {line.get_label(): line for line in accuracy.lines}
    assert list(lines["kept epoch"].get_xdata()) == [epochs]
    assert lines["kept epoch"].get_ydata() == [history(epochs)[-1]["val_balanced_accuracy"]]
    assert lines["train"].get_linestyle() != lines["validation"].get_linestyle()
    assert list(lines["train"].get_ydata()) == [row["accuracy"] for row in history(epochs)]
    assert {"train", "validation", "kept epoch"} <= {line.get_label() for line in loss.lines}
    said = [text.get_text() for text in legend.get_legend().get_texts()]
    assert ("fine-tuning starts" in said) == (fine is not None)
    if fine:
        assert set(lines["fine-tuning starts"].get_xdata()) == {fine - 0.5}


def test_curves_leave_a_gap_for_what_is_missing(drawn, tmp_path):
    rows = history(5)
    rows[2] |= {"val_balanced_accuracy": None, "val_loss": float("nan"), "loss": float("inf")}
    rows[4] |= {"val_accuracy": None}
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
    confusion = np.array(score(predictions(n, classes), names, resamples=1)["confusion"])
    plots.confusion_matrix(confusion.tolist(), names, path, title=TITLE)
    check_picture(path, drawn[0], f"n = {n} images")
    cells = [text.get_text().split("\n") for text in drawn[0].axes[0].texts]
    assert [int(cell[0]) for cell in cells] == confusion.ravel().tolist()
    for cell, (row, column) in zip(cells, np.ndindex(confusion.shape), strict=True):
        total = confusion[row].sum()
        assert cell[1:] == ([f"{confusion[row, column] / total:.0%}"] if total else [])


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
    plots.roc(p, names, path, title=TITLE)
    check_picture(path, drawn[0], f"n = {n} images of {n} patients")
    axes, legend = drawn[0].axes
    areas = {name: own["roc_auc"] for name, own in score(p, names)["classes"].items()}
    said = [text.get_text() for text in legend.get_legend().get_texts()]
    for name, line, text in zip(names, axes.lines, said, strict=False):
        area = areas[name]
        assert text.startswith(name)
        if area["value"] is None:
            assert text.endswith("AUC undefined")
            assert len(line.get_xdata()) == 0
        else:
            low, high = area["low"], area["high"]
            assert text.endswith(f"{area['value']:.3f}, 95 % interval {low:.3f} to {high:.3f}")
            under = np.trapezoid(line.get_ydata(), line.get_xdata())
            assert under == pytest.approx(area["value"])
    assert len({(x.get_linestyle(), x.get_color()) for x in axes.lines}) == classes + 1


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
        verdict = f"✗ truth: {NAMES[label]}" if wrong else "✓ right"
        assert axes.get_title() == f"{NAMES[called]} {row[called]:.2f}\n{verdict}"
        assert (axes.spines["left"].get_linestyle() == "--") == wrong


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
