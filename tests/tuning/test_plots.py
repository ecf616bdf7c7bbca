"""The claims of tuning.plots: whole PNGs, every trial in its place, nothing over anything."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.helpers.pictures import TITLE, check_picture, saved
from trainer.evaluation.plots import GREY
from tuning import layout, plots
from tuning.plots import Axis, Point

RATE = Axis("learning_rate", True, ())
BATCH = Axis("batch_size", True, ())
DROPOUT = Axis("dropout", False, ())
VIEWS = Axis("augmentation", False, ("none", "radiograph+gamma+noise", "article"))
ONE = Axis("optimizer", False, ("adam",))
TUNE = Axis("fine_tune_learning_rate", True, ())
UNITS = Axis("dense_units", False, ())
BLOCKS = Axis("fine_tune_blocks", False, ())
SCALING = Axis("normalization", False, ("none", "featurewise", "zca"))
NINE = (RATE, BATCH, VIEWS, DROPOUT, ONE, TUNE, UNITS, BLOCKS, SCALING)


@pytest.fixture
def drawn(monkeypatch):
    return saved(monkeypatch, plots)


def trials(n, failed=(), sd=True):
    """n trials, in an order other than that they started in."""
    rng = np.random.default_rng(n)
    points = []
    for number in range(n):
        values = {
            "learning_rate": float(10 ** rng.uniform(-4.9, -2.1)),
            "batch_size": int(rng.choice([64, 128, 256])),
            "augmentation": str(rng.choice(VIEWS.choices)),
            "dropout": float(rng.uniform(0, 0.6)),
            "optimizer": "adam",
            "fine_tune_learning_rate": float(10 ** rng.uniform(-6, -4)),
            "dense_units": int(rng.integers(32, 513)),
            "fine_tune_blocks": int(rng.integers(0, 4)),
            "normalization": str(rng.choice(SCALING.choices)),
        }
        score, spread = float(rng.uniform(0.6, 0.95)), float(rng.uniform(0.005, 0.02))
        ok = number not in failed
        points.append(Point(number, values, score if ok else None, spread if sd and ok else None))
    return points[::-1]


def scored(*scores):
    return [Point(number, {"x": number}, score, None) for number, score in enumerate(scores)]


def best_of(points, direction):
    done = [point for point in points if point.score is not None]
    best = (max if direction == "max" else min)(point.score for point in done)
    return min((point for point in done if point.score == best), key=lambda p: p.number)


def footer(points):
    failed = sum(point.score is None for point in points)
    good = len(points) - failed
    return f"{good} trial{'' if good == 1 else 's'} finished, {failed} failed"


def legend_labels(axes):
    """The labels of the legend, each of which stands there once."""
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(set(texts)) == len(texts)
    return texts


def lines(axes, label):
    return [line for line in axes.lines if line.get_label().startswith(label)]


def named_best(point):
    return f"best: trial {point.number}, {point.score:.4g}" + (
        f" ± {point.sd:.2g}" if point.sd else ""
    )


def placed(axis, points):
    """The scale of an axis, and the places of trials on it that stand in their order."""
    values = [point.values[axis.name] for point in points]
    scale = layout.scale_of(axis, values)
    return scale, layout.fanned([scale.at(value) for value in values])


def check_scores(axes, xs, points, direction):
    """Dots, bars, ring and crosses are where the trials put them; returns the panel's lines."""
    done = [(x, p) for x, p in zip(xs, points, strict=True) if p.score is not None]
    failed = [x for x, p in zip(xs, points, strict=True) if p.score is None]
    if done:
        (bars,) = axes.containers
        dots, _, segments = bars.lines
        np.testing.assert_allclose(dots.get_xydata(), [(x, p.score) for x, p in done])
        if done[0][1].sd is None:
            assert not segments and bars.get_label() == "finished trial"
        else:
            ends = [[(x, p.score - p.sd), (x, p.score + p.sd)] for x, p in done]
            np.testing.assert_allclose(segments[0].get_segments(), ends)
            assert bars.get_label() == "finished trial (bar: standard deviation)"
        best = best_of(points, direction)
        (ring,) = lines(axes, "best: ")
        assert ring.get_label() == named_best(best)
        place = next(x for x, p in done if p is best)
        np.testing.assert_allclose(ring.get_xydata(), [(place, best.score)])
        assert ring.get_fillstyle() == "none"
    else:
        assert not axes.containers and not lines(axes, "best: ")
    crosses = lines(axes, "failed trial")
    assert len(crosses) == bool(failed)
    for cross in crosses:
        assert cross.get_marker() == "x"
        np.testing.assert_allclose(cross.get_xdata(), failed)
        heights = cross.get_transform().transform(cross.get_xydata())[:, 1]
        lowest = axes.transAxes.transform((0, 0))[1]
        tenth = axes.transAxes.transform((0, 0.1))[1]
        assert ((heights > lowest) & (heights < tenth)).all()
        for _, point in done:  # no dot among the crosses
            assert axes.transData.transform((0, point.score - (point.sd or 0)))[1] > tenth


def apart(labels):
    """No tick label meets another."""
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert boxes
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)


CASES = [
    (1, (), "max"),
    (1, (0,), "min"),
    (5, range(5), "max"),
    (20, (0, 3, 11), "min"),
    (200, range(0, 200, 7), "max"),
]
EDGES = [(RATE,), (VIEWS, BATCH), NINE]


@pytest.mark.parametrize("axes", EDGES, ids=len)
@pytest.mark.parametrize(("n", "failed", "direction"), CASES)
def test_parallel_coordinates(drawn, tmp_path, n, failed, axes, direction):
    points, path = trials(n, failed), tmp_path / "parallel.png"
    named = {"objective": "val_balanced_accuracy", "direction": direction, "title": TITLE}
    plots.parallel_coordinates(points, axes, path, **named)
    figure = drawn[0]
    check_picture(path, figure, footer(points))
    plot, legend = figure.axes
    scales = [layout.scale_of(axis, [p.values[axis.name] for p in points]) for axis in axes]

    def places(point):
        return [scale.at(point.values[scale.axis.name]) for scale in scales]

    bad = [point for point in points if point.score is None]
    dashed = lines(plot, "failed trial")
    assert [list(line.get_ydata()) for line in dashed] == [places(point) for point in bad]
    assert all(line.get_linestyle() == "--" and line.get_color() == GREY for line in dashed)
    finished = lines(plot, "finished trial") + lines(plot, "best: ")
    assert len(finished) == n - len(bad)
    labels = ["failed trial"] * bool(bad) + ["finished trial"] * (len(finished) > 1)
    if not finished:
        assert figure.get_suptitle() == "Trials by parameter: no trial finished"
        assert legend_labels(legend) == labels and not plot.child_axes
        return
    assert figure.get_suptitle() == "Trials by parameter"
    best = best_of(points, direction)
    assert legend_labels(legend) == [*labels, named_best(best)]
    thick = finished[-1]
    assert list(thick.get_ydata())[:-1] == places(best)
    for line in finished[:-1]:
        assert line.get_linewidth() == (0.9 if n > 50 else 1.5) < thick.get_linewidth() / 2
        assert line.get_zorder() < thick.get_zorder()
    # The last axis has the scores in order, and darker is better.
    ends = sorted((line.get_ydata()[-1], sum(line.get_color()[:3])) for line in finished)
    scores = [point.score for point in points if point.score is not None]
    scale = layout.scale_of(Axis("", False, ()), scores)
    np.testing.assert_allclose([end for end, _ in ends], [scale.at(x) for x in sorted(scores)])
    light = [x for _, x in ends]
    assert light == sorted(light, reverse=direction == "max")
    assert all(list(line.get_xdata()) == list(range(len(axes) + 1)) for line in finished)
    (bar,) = plot.child_axes
    assert [label.get_text() for label in bar.get_yticklabels()] == scale.labels
    better = "higher" if direction == "max" else "lower"
    assert bar.get_ylabel() == f"{better} is better, and drawn darker"
    # check_picture sees no inner axes: their words are whole, too.
    assert bar.get_tightbbox().x1 <= figure.bbox.x1
    apart(bar.get_yticklabels())


def test_parallel_axes_are_named_and_ticked_in_words(drawn, tmp_path):
    points, path = trials(20), tmp_path / "parallel.png"
    named = {"objective": "val_loss", "direction": "min", "title": TITLE}
    plots.parallel_coordinates(points, (RATE, VIEWS, BATCH), path, **named)
    texts = {(text.xy[0], text.get_text()) for text in drawn[0].axes[0].texts}
    assert texts == {
        *((0, x) for x in ("learning_rate\n(log)", "1e-05", "1e-04", "1e-03", "1e-02")),
        *((1, x) for x in ("augmentation", "none", "radiograph+\ngamma+noise", "article")),
        *((2, x) for x in ("batch_size\n(log)", "64", "128", "256")),
        (3, "val_loss"),
    }


def test_many_long_choices_stay_apart(drawn, tmp_path):
    long = tuple(f"radiograph+gamma+noise+cutout+elastic_{number}" for number in range(14))
    axes = (RATE, Axis("augmentation_of_the_images", False, long), BATCH)
    points = [
        dataclasses.replace(p, values={**p.values, axes[1].name: long[p.number % 14]})
        for p in trials(20, (3,))
    ]
    named = {"objective": "val_loss", "direction": "min", "title": TITLE}
    for draw in (plots.parallel_coordinates, plots.objective_by_parameter):
        draw(points, axes, tmp_path / "long.png", **named)
        check_picture(tmp_path / "long.png", drawn[-1], footer(points))
    texts = {text.get_text() for text in drawn[0].axes[0].texts}
    assert texts >= {
        f"radiograph+\ngamma+noise+\ncutout+elastic_\n{number}" for number in range(14)
    }
    apart(drawn[1].axes[1].get_xticklabels())


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_objective_by_parameter_has_a_panel_each(drawn, tmp_path, count):
    points, path = trials(20, (0, 3, 11)), tmp_path / "objective.png"
    axes = NINE[:count]
    named = {"objective": "val_balanced_accuracy", "direction": "max", "title": TITLE}
    plots.objective_by_parameter(points, axes, path, **named)
    check_picture(path, drawn[0], footer(points))
    *panels, legend = drawn[0].axes
    assert len(panels) == count
    starts = sorted({round(panel.get_position().x0, 2) for panel in panels})
    assert len(starts) == min(count, 3)
    for number, (panel, axis) in enumerate(zip(panels, axes, strict=True)):
        assert panel.get_xlabel() == axis.name + (" (log)" if axis.log else "")
        first = "val_balanced_accuracy\n(higher is better)"
        assert panel.get_ylabel() == ("" if number % 3 else first)
        scale, xs = placed(axis, points)
        check_scores(panel, xs, points, "max")
        assert list(panel.get_xticks()) == scale.places
        assert [label.get_text() for label in panel.get_xticklabels()] == scale.labels
        apart(panel.get_xticklabels())
    best = named_best(best_of(points, "max"))
    bars = "finished trial (bar: standard deviation)"
    assert set(legend_labels(legend)) == {best, bars, "failed trial"}


@pytest.mark.parametrize("sd", [True, False])
@pytest.mark.parametrize(("n", "failed", "direction"), CASES)
def test_scores_at_any_number_of_trials(drawn, tmp_path, n, failed, direction, sd):
    points = trials(n, failed, sd)
    named = {"objective": "val_balanced_accuracy", "direction": direction, "title": TITLE}
    for folder in ("by", "best"):
        (tmp_path / folder).mkdir()
    plots.objective_by_parameter(points, (RATE, ONE), tmp_path / "by" / "a.png", **named)
    plots.best_so_far(points, tmp_path / "best" / "a.png", **named)
    by, best = drawn
    check_picture(tmp_path / "by" / "a.png", by, footer(points))
    check_picture(tmp_path / "best" / "a.png", best, footer(points))
    none = ": no trial finished" if len(failed) == n else ""
    assert by.get_suptitle() == "Score by parameter (equal values side by side)" + none
    assert best.get_suptitle() == "Best score so far" + none
    assert (not none) == bool(lines(best.axes[0], "best so far"))
    check_scores(best.axes[0], [point.number for point in points], points, direction)
    for panel, axis in zip(by.axes[:2], (RATE, ONE), strict=True):
        check_scores(panel, placed(axis, points)[1], points, direction)


SCORES = (None, 0.5, 0.7, None, 0.6, 0.9, 0.4)


@pytest.mark.parametrize(
    ("direction", "scores", "expected"),
    [
        ("max", SCORES, [(1, 0.5), (2, 0.7), (4, 0.7), (5, 0.9), (6, 0.9)]),
        ("min", SCORES, [(1, 0.5), (2, 0.5), (4, 0.5), (5, 0.5), (6, 0.4)]),
        ("max", (0.3,), [(0, 0.3)]),
        ("min", (0.3, math.nan, 0.3), [(0, 0.3), (2, 0.3)]),
        ("max", (None, math.inf), []),
    ],
)
def test_the_best_so_far(drawn, tmp_path, direction, scores, expected):
    points = scored(*scores)[::-1]
    assert list(zip(*layout.best_series(points, direction), strict=True)) == expected
    named = {"objective": "score", "direction": direction, "title": TITLE}
    plots.best_so_far(points, tmp_path / "best.png", **named)
    steps = lines(drawn[0].axes[0], "best so far")
    assert len(steps) == bool(expected)
    for step in steps:
        end = (len(scores) - 0.5, expected[-1][1])
        np.testing.assert_array_equal(step.get_xydata(), [*expected, end])
        assert step.get_drawstyle() == "steps-post"  # a best holds until a better one


@pytest.mark.parametrize("direction", ["max", "min"])
def test_of_equal_scores_the_first_is_best(drawn, tmp_path, direction):
    points = [dataclasses.replace(point, score=0.75) for point in trials(6, sd=False)]
    named = {"objective": "val_loss", "direction": direction, "title": TITLE}
    for draw in (plots.parallel_coordinates, plots.objective_by_parameter):
        draw(points, (RATE, ONE), tmp_path / "equal.png", **named)
        check_picture(tmp_path / "equal.png", drawn[-1], "6 trials finished, 0 failed")
        assert "best: trial 5, 0.75" in legend_labels(drawn[-1].axes[-1])
    plot = drawn[0].axes[0]
    drawn_last = [line.get_ydata()[-1] for line in lines(plot, "finished trial")]
    assert drawn_last == [0.5] * 5
    assert len({to_hex(line.get_color()) for line in lines(plot, "finished trial")}) == 1
    assert [label.get_text() for label in plot.child_axes[0].get_yticklabels()] == ["0.75"]


BAD = [
    ({"points": []}, "Pass at least one point"),
    ({"direction": "maximum"}, '\'maximum\'. Pass "max" or "min"'),
    ({"axes": ()}, "Pass at least one axis"),
    ({"axes": (RATE, Axis("momentum", False, ()))}, "'momentum': no value. Give it one"),
    ({"axes": (Axis("optimizer", False, ("sgd",)),)}, "'adam' is none of sgd. Name it"),
    ({"axes": (Axis("optimizer", False, ()),)}, "'adam' is no finite number. Give the axis its"),
    ({"axes": (Axis("zero", True, ()),)}, "0 has no logarithm. Draw the axis with log=False"),
    ({"axes": (Axis("nan", False, ()),)}, "nan is no finite number"),
    ({"axes": (Axis("none", False, ()),)}, "None is no finite number"),
]


@pytest.mark.parametrize(("change", "match"), BAD)
@pytest.mark.parametrize("draw", [plots.parallel_coordinates, plots.objective_by_parameter])
def test_bad_input_is_refused_and_leaves_nothing(tmp_path, draw, change, match):
    more = {"zero": 0, "nan": math.nan, "none": None}
    points = [dataclasses.replace(point, values={**point.values, **more}) for point in trials(3)]
    given = {"points": points, "axes": NINE, "objective": "x", "direction": "max", "title": TITLE}
    with pytest.raises(ValueError) as refused:
        draw(path=tmp_path / "a.png", **given | change)
    assert match in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "match"), BAD[:2])
def test_best_so_far_refuses_too(tmp_path, change, match):
    given = {"points": trials(3), "objective": "x", "direction": "max", "title": TITLE} | change
    with pytest.raises(ValueError) as refused:
        plots.best_so_far(path=tmp_path / "a.png", **given)
    assert match in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_to_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "best.png"
    path.write_bytes(b"old")

    def break_off(figure, beside, **_):
        beside.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        plots.best_so_far(trials(3), path, objective="x", direction="max", title=TITLE)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
