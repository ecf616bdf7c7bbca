"""Where a group goes: by hash, by the source's own split, never into two."""

import collections

import pytest

from covid_tfds import splits
from covid_tfds.errors import DatasetError
from covid_tfds.records import LABELS, ImageRecord


def record(number: int, label: str, source: str = "kaggle", split: str = "train") -> ImageRecord:
    return ImageRecord(f"{source}/{number}", label, source, f"{source}/{number}", str(number),
                original_split=split)  # fmt: skip


def test_shares_of_the_hash_are_those_promised():
    counts = collections.Counter(
        splits.hashed_split(f"group {i}", test_share=splits.TEST_SHARE) for i in range(20_000)
    )
    assert counts["test"] / 20_000 == pytest.approx(0.20, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.12, abs=0.01)


def images_and_groups(count: int) -> tuple[list[ImageRecord], list[str]]:
    images = [
        record(i, LABELS[i % 4], "cohen" if i % 4 == 1 else "kaggle", "") for i in range(count)
    ]
    return images, [f"pair{i // 2}" if i % 4 > 1 else f"g{i}" for i in range(count)]


def test_an_image_added_later_moves_no_other():
    images, groups = images_and_groups(400)
    more, more_groups = images_and_groups(500)
    before, _ = splits.full(images, groups)
    after, _ = splits.full(more, more_groups)
    assert after[:400] == before


def test_full_keeps_kaggles_test_and_holds_out_covid_patients():
    images, groups = images_and_groups(2000)
    images += [record(5000 + i, LABELS[(0, 2, 3)[i % 3]], split="test") for i in range(90)]
    groups += [f"official{i}" for i in range(90)]
    placed, reasons = splits.full(images, groups)
    splits.require_disjoint(images, groups, placed)
    assert not any(reasons)
    test = {f.image_id for f, s in zip(images, placed, strict=True) if s == "test"}
    assert test >= {f.image_id for f in images if f.original_split == "test"}
    others = [f for f in images if f.image_id in test and f.original_split != "test"]
    assert {f.label for f in others} == {"covid19"}
    assert len(others) / 500 == pytest.approx(0.2, abs=0.05)


def test_what_reaches_into_the_official_test_is_left_out_with_that_reason():
    images = [record(1, "viral"), record(2, "viral", split="test")]
    placed, reasons = splits.full(images, ["one", "one"])
    assert placed == ["", "test"]
    assert reasons == [splits.LEFT_OUT_TEST, ""]


def test_cohens_other_pneumonias_are_control_unless_the_patient_has_a_covid_image():
    images = [
        record(1, "viral", "cohen", ""),
        record(2, "bacterial", "cohen", ""),
        record(3, "covid19", "cohen", ""),
    ]
    placed, reasons = splits.full(images, ["a", "b", "b"])
    assert placed[:2] == ["control", ""]
    assert reasons[1] == splits.LEFT_OUT_COVID


def test_a_group_in_two_splits_stops_and_is_named():
    images = [record(i, "viral") for i in range(3)]
    wanted = r"anna: test \(kaggle/1\), train \(kaggle/0\)"
    with pytest.raises(DatasetError, match=wanted):
        splits.require_disjoint(images, ["anna", "anna", "ben"], ["train", "test", "test"])
    splits.require_disjoint(images, ["anna", "anna", "ben"], ["train", "train", "test"])


@pytest.mark.parametrize("further", [0, 1, 3])
def test_of_many_groups_in_two_splits_some_are_shown_and_the_rest_counted(further):
    count = splits._SHOWN + further
    images = [record(i, "viral") for i in range(2 * count)]
    names = [f"g{i % count}" for i in range(2 * count)]
    with pytest.raises(DatasetError) as raised:
        splits.require_disjoint(images, names, ["train"] * count + ["test"] * count)
    text = str(raised.value)
    assert text.startswith(f"{count} groups are in more than one split.")
    assert text.count("\n  g") == splits._SHOWN
    assert (f"\n  and {further} more\n" in text) == (further > 0) == ("  and " in text)


def test_nearest_reaches_the_sizes_and_keeps_what_it_can():
    images = [record(i, LABELS[i % 2]) for i in range(60)]
    groups = [f"g{i % 2}-{i // 6}" for i in range(60)]  # three images each
    wanted = ["test" if i < 12 else "validation" if i < 24 else "train" for i in range(60)]
    placed = splits.nearest(images, groups, wanted)
    splits.require_disjoint(images, groups, placed)
    assert collections.Counter(placed) == collections.Counter(wanted)
    # Here whole groups fit exactly, so the wanted splits themselves are the best answer.
    assert placed == wanted


def test_nearest_tears_no_group_even_where_no_sum_fits():
    images = [record(i, "viral") for i in range(14)]
    groups = ["large"] * 7 + ["other"] * 7
    wanted = ["test"] * 3 + ["train"] * 11
    assert splits.nearest(images, groups, wanted).count("test") in (0, 7)


def test_nearest_keeps_an_image_where_two_sizes_are_as_near():
    images = [record(i, "viral") for i in range(2)]
    # None or both of a pair: one image off either way, and both keep the one that is wanted.
    assert splits.nearest(images, ["pair"] * 2, ["test", "train"]) == ["test"] * 2


def test_a_copy_of_a_control_image_in_kaggles_train_is_left_out_of_train():
    images = [record(1, "viral", "cohen", ""), record(2, "viral"), record(3, "viral")]
    placed, reasons = splits.full(images, ["a", "a", "b"])
    splits.require_disjoint(images, ["a", "a", "b"], placed)
    assert placed[:2] == ["control", ""] and placed[2]
    assert reasons == ["", splits.LEFT_OUT_CONTROL, ""]


def test_a_copy_of_a_control_image_in_kaggles_test_is_left_out_of_control():
    images = [record(1, "viral", "cohen", ""), record(2, "viral", split="test")]
    placed, reasons = splits.full(images, ["a", "a"])
    assert (placed, reasons) == (["", "test"], [splits.LEFT_OUT_TEST, ""])


def test_classes_that_a_split_lacks_are_named():
    images = [record(i, ("tb", "normal")[i % 2]) for i in range(4)]
    placed = ["train", "train", "test", "train"]
    assert splits.empty_classes(images, placed, ["normal", "tb"]) == {
        "validation": ["normal", "tb"], "test": ["normal"],
    }  # fmt: skip
