"""What every plot is held to, whoever draws it."""

import itertools

from PIL import Image

TITLE = "phantom 2.0.0 (synthetic images), VGG16 with ImageNet weights, test split"


def saved(monkeypatch, module):
    """The figures that a module saves from now on, so that a test can look at what they show."""
    figures, save = [], module.save

    def save_and_keep(figure, path):
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(module, "save", save_and_keep)
    return figures


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
    texts = words(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (a, first), (b, second) in itertools.combinations(texts, 2):
        assert not first.overlaps(second), f"{a!r} over {b!r}"
